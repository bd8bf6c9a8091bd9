"""Our JSONL: one image or video a line, with captions, questions and answers, conversations or a label."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN_KEYS = {
    "image", "video", "caption", "captions", "qa", "conversations", "split", "start", "end",
    "detail", "label", "set", "wnid", "source", "source_text", "licence", "real",
}  # fmt: skip
CONTENT_KEYS = ("caption", "captions", "qa", "conversations", "label")
SPLITS = ("train", "val", "test")


class DataError(ValueError):
    """Data that cannot be used; the message starts with path:line where a row is at fault."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One medium and what is said about it. `start`, `end` in seconds, None for the whole file.

    `detail` says what changes over time in a video, or how its camera moves; "" where nobody says.
    """

    media: Path
    is_video: bool
    captions: tuple[str, ...]
    qa: tuple[tuple[str, str], ...]
    split: str
    start: float | None = None
    end: float | None = None
    detail: str = ""


def read_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Line numbers from 1 and objects of a .jsonl file, or of a .json file that holds a list. Raises DataError."""
    for number, row in _values(path, _text(path)):
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}: {str(row)[:80]}")
        yield number, row


def read_samples(path: Path) -> list[Sample]:
    """All rows of a file; media paths are relative to it. Raises DataError on the first row that cannot be used."""
    return [_sample(path, number, row) for number, row in read_rows(path)]


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: expected UTF-8, got the byte {content[error.start]:#x}.") from error


def _values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file, each with the line it starts on."""
    if text.lstrip().startswith("["):
        yield from _items(path, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # a string may hold other separators, such as U+2028
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: expected one JSON object a line ({error}): {line[:80]}") from error


def _items(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: expected a list of JSON objects ({error}).") from error
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    line, at, seen = 1, text.index("[") + 1, 0
    while text[at := between.match(text, at).end()] != "]":
        line += text.count("\n", seen, at)
        seen = at
        item, at = decoder.raw_decode(text, at)
        yield line, item


def _sample(path: Path, number: int, row: dict) -> Sample:
    where = f"{path}:{number}"
    unknown = sorted(row.keys() - KNOWN_KEYS)
    if unknown:
        raise DataError(f"{where}: unknown {unknown}. Known keys: {', '.join(sorted(KNOWN_KEYS))}.")
    kinds = [k for k in ("image", "video") if k in row]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected one of image, video, got {kinds or 'neither'}.")
    if not any(row.get(k) for k in CONTENT_KEYS):
        raise DataError(f"{where}: expected something in one of {', '.join(CONTENT_KEYS)}, got {sorted(row)}.")
    name = row[kinds[0]]
    if not isinstance(name, str) or not (path.parent / name).is_file():
        raise DataError(f"{where}: {kinds[0]} {name!r} does not exist in {path.parent}.")
    split = row.get("split", "train")
    if split not in SPLITS:
        raise DataError(f"{where}: expected a split of {', '.join(SPLITS)}, got {split!r}.")
    start, end = _span(where, row)
    return Sample(
        media=path.parent / name, is_video=kinds[0] == "video",
        captions=tuple(clean(c) for key in ("caption", "captions") for c in _captions(where, row, key)),
        qa=_qa(where, row), split=split, start=start, end=end, detail=_detail(where, row),
    )  # fmt: skip


def _captions(where: str, row: dict, key: str) -> list[str]:
    value = row.get(key, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip(" .\t\r\n") for t in texts):
        raise DataError(f"{where}: expected a sentence or a list of sentences in '{key}', got {str(value)[:80]!r}.")
    return texts


def _detail(where: str, row: dict) -> str:
    detail = row.get("detail", "")
    if not isinstance(detail, str):
        raise DataError(f"{where}: expected a text in 'detail', got {detail!r:.80}.")
    return clean(detail) if detail.strip(" .\t\r\n") else ""


def _qa(where: str, row: dict) -> tuple[tuple[str, str], ...]:
    items = row.get("qa", [])
    try:
        pairs = tuple((item["question"], item["answer"]) for item in items)
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: qa is a list of {{question, answer}} ({error!r}): {str(items)[:80]}") from error
    if strange := [text for pair in pairs for text in pair if not isinstance(text, str) or not text.strip()]:
        raise DataError(f"{where}: expected texts as question and answer, got {strange[0]!r}.")
    return pairs


def _span(where: str, row: dict) -> tuple[float | None, float | None]:
    for key in ("start", "end"):
        value = row.get(key)
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            raise DataError(f"{where}: expected seconds in '{key}', got {value!r}.")
    start, end = row.get("start"), row.get("end")
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise DataError(f"{where}: expected 0 <= start < end, got start {start} and end {end}.")
    return start, end


def clean(caption: str) -> str:
    """One space between words, no space before a final stop, a capital first letter, a final stop."""
    text = " ".join(caption.split()).rstrip(" .")
    text = text.replace(" ,", ",").replace(" 's", "'s")
    return text[:1].upper() + text[1:] + "."
