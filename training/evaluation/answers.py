"""The folder of one evaluation: run.json (what was measured), answers.jsonl (a row for each item, as it comes), summary.json.

A run that was killed goes on in the same folder: rows that are there are not computed again.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from training.evaluation.statistics import Summary

log = logging.getLogger(__name__)

INFORMATIVE = ("data", "model")
"""Settings that may differ on resume: names and places; what they name is compared by its hash."""


class ResumeError(ValueError):
    """A folder holds the answers of another run; the message says what differs."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row. `video` is the one that was shown, None for none; sums of log-likelihoods in nats, one for each option.

    A failed item has no prediction and no numbers, and `reason` says why.
    """

    id: str
    control: str
    video: str | None
    answer: int
    predicted: int | None
    log_likelihood: list[float]
    log_likelihood_no_video: list[float]
    tokens: list[int]
    status: Literal["ok", "failed"]
    reason: str | None = None

    @property
    def correct(self) -> bool:
        return self.predicted == self.answer

    def row(self) -> dict[str, Any]:
        """The answer as a JSON object; `reason` only where there is one."""
        return {key: value for key, value in asdict(self).items() if key != "reason" or value is not None}


class AnswerLog:
    """Appends answers and knows which items are done: `done[control, id]`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the folder, or go on in it. Raises ResumeError when its answers come from other settings."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.done: dict[tuple[str, str], Answer] = {}
        self._path = folder / "answers.jsonl"
        self._claim(settings)
        self._reload()
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def _claim(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / "run.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            different = [
                f"{key} was {before.get(key)!r}, is {settings.get(key)!r}"
                for key in sorted(before.keys() | settings.keys())
                if key not in INFORMATIVE and before.get(key) != settings.get(key)
            ]
            if different:
                raise ResumeError(f"{self.folder} holds another run: {'; '.join(different)}. Choose another --output.")
        elif self._path.exists():
            raise ResumeError(
                f"{self.folder} has answers.jsonl but no run.json that says of what. Choose another --output."
            )
        replace(path, json.dumps(dict(settings), indent=2) + "\n")

    def _reload(self) -> None:
        """Read what is there. A torn last line is dropped; failed items are dropped too, to be tried again."""
        if not self._path.exists():
            return
        text = self._path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if text and not text.endswith("\n"):
            log.warning("%s ends in half a row (the run was killed): it is computed again", self._path)
            lines.pop()
        for number, line in enumerate(lines, start=1):
            try:
                answer = Answer(**json.loads(line))
            except (json.JSONDecodeError, TypeError) as error:
                raise ResumeError(f"{self._path}:{number}: not a row of answers ({error}): {line[:80]}") from error
            if answer.status == "ok":
                self.done[answer.control, answer.id] = answer
        replace(self._path, "".join(json.dumps(answer.row()) + "\n" for answer in self.done.values()))

    def add(self, answer: Answer) -> None:
        """Write a row at once, so that a kill costs the item in flight and no other."""
        self.done[answer.control, answer.id] = answer
        self._file.write(json.dumps(answer.row()) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, summaries: Mapping[str, Summary]) -> None:
        """Write summary.json."""
        replace(
            self.folder / "summary.json",
            json.dumps({control: asdict(summary) for control, summary in summaries.items()}, indent=2) + "\n",
        )

    def close(self) -> None:
        """Close the file of answers."""
        self._file.close()

    def __enter__(self) -> "AnswerLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replace(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it: there is never half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
