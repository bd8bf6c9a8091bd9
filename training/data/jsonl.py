"""Our JSONL: one image or video a line, with captions, questions and answers, conversations or a label."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KNOWN_KEYS = {
    "image", "video", "caption", "captions", "qa", "conversations", "split", "start", "end",
    "detail", "label", "set", "wnid", "source", "source_text", "licence", "real",
}  # fmt: skip
CONTENT_KEYS = ("caption", "captions", "qa", "conversations", "label")


class DataError(ValueError):
    """A data file has a row that cannot be used; the message starts with path:line."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One medium and what is said about it. `start`, `end` in seconds, None for the whole file."""

    media: Path
    is_video: bool
    captions: tuple[str, ...]
    qa: tuple[tuple[str, str], ...]
    split: str
    start: float | None = None
    end: float | None = None


def read_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Line numbers from 1 and objects of a .jsonl file, or of a .json file that holds a list. Raises DataError."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        yield from enumerate(json.loads(text), start=1)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: expected one JSON object a line ({error}): {line[:80]}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}: {line[:80]}")
        yield number, row


def read_samples(path: Path) -> list[Sample]:
    """All rows of a file; media paths are relative to it. Raises DataError on unknown keys, missing media or content."""
    return [_sample(path, number, row) for number, row in read_rows(path)]


def _sample(path: Path, number: int, row: dict) -> Sample:
    where = f"{path}:{number}"
    unknown = sorted(row.keys() - KNOWN_KEYS)
    if unknown:
        raise DataError(f"{where}: unknown {unknown}. Known keys: {', '.join(sorted(KNOWN_KEYS))}.")
    kinds = [k for k in ("image", "video") if k in row]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected one of image, video, got {kinds or 'neither'}.")
    if not any(k in row for k in CONTENT_KEYS):
        raise DataError(f"{where}: expected at least one of {', '.join(CONTENT_KEYS)}, got {sorted(row)}.")
    media = path.parent / row[kinds[0]]
    if not media.is_file():
        raise DataError(f"{where}: {kinds[0]} {media} does not exist.")
    captions = [*([row["caption"]] if "caption" in row else []), *row.get("captions", [])]
    try:
        qa = tuple((item["question"], item["answer"]) for item in row.get("qa", []))
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: qa is a list of {{question, answer}} ({error!r}): {str(row['qa'])[:80]}") from error
    return Sample(
        media=media, is_video=kinds[0] == "video", captions=tuple(clean(c) for c in captions), qa=qa,
        split=row.get("split", "train"), start=row.get("start"), end=row.get("end"),
    )  # fmt: skip


def clean(caption: str) -> str:
    """One space between words, no space before a final stop, a capital first letter, a final stop."""
    text = " ".join(caption.split()).rstrip(" .")
    text = text.replace(" ,", ",").replace(" 's", "'s")
    return text[:1].upper() + text[1:] + "."
