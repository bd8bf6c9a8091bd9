"""The folder of one evaluation: run.json (what was measured) and answers.jsonl (a row for each item, as it comes).

A run that was killed goes on in the same folder: rows that are there are not computed again.
"""

import fcntl
import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from training.engine.files import ResumeError, write_text

log = logging.getLogger(__name__)

INFORMATIVE = ("data", "model", "sessions")
"""Settings that may differ on resume: names and places, which are compared by hash, and what each start notes down."""
STATUSES = ("ok", "unparsed", "failed")


Status = Literal["ok", "unparsed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row. `video` is the one that was shown, None for none; `values` what this kind of question records.

    "ok" is an answer, right or wrong; "unparsed" one that asserts nothing; "failed" none at all, for the `reason`.
    """

    id: str
    control: str
    video: str | None
    values: dict[str, Any]
    status: Status
    reason: str | None = None

    def row(self) -> dict[str, Any]:
        """The answer as a JSON object; `reason` only where there is one."""
        end = {"status": self.status} | ({} if self.reason is None else {"reason": self.reason})
        return {"id": self.id, "control": self.control, "video": self.video, **self.values, **end}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Answer":
        """The answer that `row` wrote. Raises TypeError, ValueError or KeyError where it is none."""
        if not isinstance(row, dict):
            raise TypeError(f"expected an object, got {type(row).__name__}")
        if row["status"] not in STATUSES:
            raise ValueError(f"expected a status of {', '.join(STATUSES)}, got {row['status']!r}")
        names = ("id", "control", "video", "status", "reason")
        values = {key: value for key, value in row.items() if key not in names}
        return cls(
            id=row["id"], control=row["control"], video=row["video"], values=values, status=row["status"],
            reason=row.get("reason"),
        )  # fmt: skip


def read_answers(path: Path) -> list[Answer]:
    """All whole rows of an answers.jsonl; half a row at the end, where the run was killed, is left out.

    Raises ResumeError with the line that is none.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.split("\n")
    if lines.pop():
        log.warning("%s ends in half a row (the run was killed): it is computed again", path)
    answers = []
    for number, line in enumerate(lines, start=1):
        try:
            answers.append(Answer.from_row(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(f"{path}:{number}: not a row of answers ({error!r}): {line[:80]}") from error
    return answers


class AnswerLog:
    """Appends answers and knows which items are done: `done[control, id]`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        """Open the folder, or go on in it; `session` is what this start notes down.

        Raises ResumeError when its answers come from other settings, or while another process writes there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = lock(folder)
        self.done: dict[tuple[str, str], Answer] = {}
        self._path = folder / "answers.jsonl"
        try:
            self._claim(settings, session)
            self._reload()
        except BaseException:
            self._lock.close()
            raise
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def _claim(self, settings: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        path = self.folder / "run.json"
        sessions = [dict(session)]
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            different = [
                f"{key} was {before.get(key)!r}, is {settings.get(key)!r}"
                for key in sorted(before.keys() | settings.keys())
                if key not in INFORMATIVE and before.get(key) != settings.get(key)
            ]
            if different:
                raise ResumeError(f"{self.folder} holds another run: {'; '.join(different)}. Choose another --output.")
            sessions = [*before["sessions"], *sessions]
        elif self._path.exists():
            raise ResumeError(
                f"{self.folder} has answers.jsonl but no run.json that says of what. Choose another --output."
            )
        write_text(path, json.dumps(dict(settings) | {"sessions": sessions}, indent=2) + "\n")

    def _reload(self) -> None:
        """Read what is there. Failed items are dropped, to be tried again."""
        for answer in read_answers(self._path):
            if answer.status != "failed":
                self.done[answer.control, answer.id] = answer
        self._rewrite()

    def _rewrite(self) -> None:
        write_text(self._path, "".join(json.dumps(answer.row()) + "\n" for answer in self.done.values()))

    def forget(self, videos: Collection[str]) -> None:
        """Drop the answers that were given beside these videos."""
        self.done = {key: answer for key, answer in self.done.items() if answer.video not in videos}
        self._file.close()
        self._rewrite()
        self._file = self._path.open("a", encoding="utf-8")

    def add(self, answer: Answer) -> None:
        """Write a row at once, so that a kill costs the item in flight and no other."""
        self.done[answer.control, answer.id] = answer
        self._file.write(json.dumps(answer.row()) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file of answers, and let others write in the folder."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> "AnswerLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock(folder: Path) -> IO[str]:
    """Hold the folder until what is returned is closed, or the process ends. Raises ResumeError where another holds it."""
    file = (folder / ".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ResumeError(f"another run is writing in {folder}. Wait for it, or choose another --output.") from error
    return file
