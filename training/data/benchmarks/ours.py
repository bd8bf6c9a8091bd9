"""Anybody's questions, in JSONL: multiple choice, open questions, and keywords of free descriptions.

Videos are relative to the file; ./a.mp4 and a.mp4 are one. A row may say its "task": scores are then also given by
task. Every reader raises DataError with file and line.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from training.data.items import Item
from training.data.jsonl import DataError, read_rows
from training.data.questions import CAPTION_QUESTIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Description(Item):
    """A free answer that should name a subject and an action: beginnings of words, one of which must occur."""

    subject: tuple[str, ...]
    action: tuple[str, ...]


def read_choices(path: Path) -> list[Item]:
    """Rows {"id", "video", "question", "candidates", "answer": index}."""
    return _read(path, {"id", "video", "question", "candidates", "answer"}, _choice)


def read_open(path: Path) -> list[Item]:
    """Rows {"id", "video", "question", "answer", "answers": every wording that counts}; `answers` may be left out."""
    return _read(path, {"id", "video", "question", "answer"}, _open, optional={"answers"})


def read_descriptions(path: Path) -> list[Item]:
    """Rows {"video", "subject": [...], "action": [...]}; the video is the id."""
    return _read(path, {"video", "subject", "action"}, _description)


def _read(
    path: Path, keys: set[str], parse: Callable[[str, dict], Item], *, optional: frozenset[str] | set[str] = frozenset()
) -> list[Item]:
    if not path.is_file():
        raise DataError(f"{path}: expected a JSONL file of questions, found {'a folder' if path.is_dir() else 'none'}.")
    items, seen = [], set()
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        known = keys | set(optional) | {"task"}
        unknown, missing = sorted(row.keys() - known), sorted(keys - row.keys())
        if missing:
            raise DataError(f"{where}: unknown {unknown}, missing {missing}. Known keys: {', '.join(sorted(known))}.")
        if unknown and not items:
            log.warning("%s: unknown %s, not read here. Known keys: %s.", where, unknown, ", ".join(sorted(known)))
        if isinstance(row.get("id"), int):
            row = row | {"id": str(row["id"])}
        for key in keys & {"id", "video", "question"}:
            if not isinstance(row[key], str) or not row[key]:
                raise DataError(f"{where}: expected text in '{key}', got {row[key]!r}.")
        item = parse(where, row | {"video": PurePath(row["video"]).as_posix()})
        if "task" in row:
            item = replace(item, groups={"task": str(row["task"])})
        if item.id in seen:
            raise DataError(f"{where}: the id '{item.id}' comes twice.")
        seen.add(item.id)
        items.append(item)
    if not items:
        raise DataError(f"{path}: expected at least one question, got none.")
    return items


def _choice(where: str, row: dict) -> Item:
    candidates, answer = _texts(where, row, "candidates", at_least=2), row["answer"]
    if type(answer) is not int or not 0 <= answer < len(candidates):
        raise DataError(f"{where}: expected in 'answer' an index below {len(candidates)}, got {answer!r}.")
    return Item(id=row["id"], video=row["video"], question=row["question"], candidates=candidates, answer=answer)


def _open(where: str, row: dict) -> Item:
    if not isinstance(row["answer"], str) or not row["answer"].strip():
        raise DataError(f"{where}: expected text in 'answer', got {row['answer']!r}.")
    others = _texts(where, row, "answers", at_least=1) if "answers" in row else ()
    answers = tuple(dict.fromkeys([row["answer"], *others]))
    return Item(id=row["id"], video=row["video"], question=row["question"], answers=answers)


def _description(where: str, row: dict) -> Description:
    return Description(
        id=row["video"], video=row["video"], question=CAPTION_QUESTIONS[0],
        subject=_texts(where, row, "subject", at_least=1), action=_texts(where, row, "action", at_least=1),
    )  # fmt: skip


def _texts(where: str, row: dict, key: str, *, at_least: int) -> tuple[str, ...]:
    values: Any = row[key]
    if (
        not isinstance(values, list)
        or len(values) < at_least
        or not all(isinstance(value, str) and value.strip() for value in values)
    ):
        count = "two or more texts" if at_least == 2 else "one or more texts"
        raise DataError(f"{where}: expected {count} in '{key}', got {values!r}.")
    return tuple(values)
