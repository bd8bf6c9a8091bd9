"""Layouts that the benchmarks' files do not have: numbered lines, and lists inside one large JSON object.

Every error is a DataError that starts with path:line.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from training.data.benchmarks.files import Row, check_keys, read_object, read_text
from training.data.jsonl import DataError


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """path:line and text, without space around it, of each line that has any. Raises DataError for a missing file."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def list_rows(path: Path, key: str, needed: Collection[str], known: Collection[str] = ()) -> list[Row]:
    """Rows of the list of objects under `key` of a JSON file that holds one object, each with the line it starts on."""
    text = read_text(path)
    if not isinstance(read_object(path).get(key), list):
        raise DataError(f"{path}:1: expected a list in '{key}'.")
    # Inside a text every quotation mark is escaped, so the key in quotation marks is nothing but a key.
    at = re.search(rf'"{key}"\s*:\s*\[', text).end()  # type: ignore[union-attr]
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    rows: list[Row] = []
    line, seen, told = 1, 0, False
    while text[at := between.match(text, at).end()] != "]":  # type: ignore[union-attr]
        line += text.count("\n", seen, at)
        seen = at
        cells, at = decoder.raw_decode(text, at)
        where = f"{path}:{line}: {key} {len(rows) + 1}"
        if not isinstance(cells, dict):
            raise DataError(f"{where}: expected an object, got {str(cells)[:80]!r}.")
        told = check_keys(where, cells, needed, known, told=told)
        rows.append(Row(where, cells))
    return rows


def captions_by_name(path: Path) -> Iterator[tuple[str, str]]:
    """Video and caption of a JSON object {name: caption or [captions]}, the form in which STAN's code reads them."""
    for name, said in read_object(path).items():
        for caption in said if isinstance(said, list) else [said]:
            if not isinstance(caption, str) or not caption.strip():
                raise DataError(f"{path}:{_line_of(path, name)}: expected text under '{name}', got {said!r:.80}.")
            yield name, caption.strip()


def _line_of(path: Path, key: str) -> int:
    """The line of a key, looked for only where there is something to say about it; 1 for a key in escapes."""
    text = read_text(path)
    return text.count("\n", 0, max(0, text.find(f'"{key}"'))) + 1
