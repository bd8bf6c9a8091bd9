"""Files that are whole whenever the process or the machine stops, and files of rows that may end in half of one."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class ResumeError(ValueError):
    """What a folder holds cannot be gone on with; the message says what and why."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` at the end: on disk, or as it was before an error."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write or replace a text file."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All lines of JSON, none where there is no file, and without a last one that a kill tore.

    Raises ResumeError for any other line that is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ResumeError(f"{path}:{number}: expected JSON, got {line[:80]!r}.") from error
            log.warning("%s ends in half a line, which is dropped", path)
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file by these rows."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
