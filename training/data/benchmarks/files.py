"""Annotation files as their owners publish them: rows with the place they stand at, and the media they name.

Every error is a DataError that starts with path:line. A row of JSON says its number, too: some lists are one long line.
"""

import csv
import io
import json
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.data.jsonl import DataError, read_rows

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = ("mp4", "mkv", "webm", "avi", "mov")


@dataclass(frozen=True)
class Row:
    """One record of a file and where it stands. What its methods return has no space around it."""

    where: str
    cells: Mapping[str, object]

    def error(self, key: str, expected: str) -> DataError:
        """What was expected under a key, and what came."""
        return DataError(f"{self.where}: expected {expected} in '{key}', got {self.cells.get(key)!r}.")

    def text(self, key: str) -> str:
        """Words. Raises DataError when there are none."""
        value = self.cells.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "text")
        return value.strip()

    def texts(self, key: str, least: int = 2) -> tuple[str, ...]:
        """A list of at least so many texts, none of them empty."""
        value = self.cells.get(key)
        if (
            not isinstance(value, list)
            or len(value) < least
            or not all(isinstance(v, str) and v.strip() for v in value)
        ):
            raise self.error(key, f"{least} or more texts")
        return tuple(v.strip() for v in value)

    def name(self, *keys: str) -> str:
        """An id or a file's name under the first of `keys` that is there. Numbers become text: 7 and "7" are one id."""
        key = next((key for key in keys if key in self.cells), keys[0])
        value = self.cells.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise self.error(key, "a name or a number")
        return str(value).strip()

    def number(self, key: str) -> float:
        """A finite number, also one that is written as text."""
        value = self.cells.get(key)
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(key, "a number")
        return number

    def index(self, key: str, count: int, first: int = 0) -> int:
        """An index from 0 below `count` of a list whose first place the file calls `first`."""
        try:
            value = int(self.name(key)) - first
        except ValueError:
            value = -1
        if not 0 <= value < count:
            raise self.error(key, f"an index from {first} to {first + count - 1}")
        return value


def find_file(root: Path, *names: str) -> Path:
    """The first of the files that is there. Raises DataError that says which ones were looked for."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root / names[0]}: no such file{''.join(f', nor {name}' for name in names[1:])}.")


def find_medium(root: Path, folders: Iterable[str], names: Iterable[str], suffixes: Sequence[str]) -> str:
    """Path relative to `root` of a medium: the first that is there of folder/name.suffix, else the first of all.

    A name that has one of the suffixes keeps it; no suffixes stand for names that are complete. That a medium is
    missing is no error of its annotations: it is found out when it is to be watched.
    """
    paths = []
    for folder in folders:
        for name in names:
            complete = not suffixes or PurePosixPath(name).suffix[1:] in suffixes
            endings = [""] if complete else [f".{suffix}" for suffix in suffixes]
            paths += [(PurePosixPath(folder) / f"{name}{ending}").as_posix() for ending in endings]
    return next((path for path in paths if (root / path).exists()), paths[0])


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte-order mark. Raises DataError when it is missing or something else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error.reason} at byte {error.start}).") from error


def read_object(path: Path) -> dict[str, object]:
    """A JSON file that holds one object, in the order of the file."""
    text = read_text(path)

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            double = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{path}:1: the key '{double}' comes twice in one object.")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        raise DataError(f"{path}:{error.lineno}: expected JSON ({error.msg}): {line[:80]}") from error
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path}:1: expected a JSON object with at least one key, got {str(value)[:80]}")
    return value


def json_rows(path: Path, needed: Collection[str], known: Collection[str] = ()) -> list[Row]:
    """Rows of a JSON list or of JSONL, whichever the content is. `needed` keys must be there, `known` ones may."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    rows, told = [], False
    for number, (line, cells) in enumerate(read_rows(path), start=1):
        rows.append(Row(f"{path}:{line}: row {number}", cells))
        told = check_keys(rows[-1].where, cells, needed, known, told=told)
    return rows


def table_rows(path: Path, needed: Collection[str], known: Collection[str] = (), *, delimiter: str = ",") -> list[Row]:
    """Rows of a table with a header, read by the names of its columns: their order does not matter."""
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter, strict=True)
    rows = []
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path}:1: expected every column once, got {header}.")
        check_keys(f"{path}:1", header, needed, known)
        for cells in reader:
            if len(cells) not in (0, len(header)):
                raise DataError(f"{path}:{reader.line_num}: expected {len(header)} columns, got {len(cells)}: {cells}")
            if cells:
                rows.append(Row(f"{path}:{reader.line_num}", dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: expected a table ({error}).") from error
    return rows


def by_id(rows: Iterable[Row], *keys: str) -> dict[str, Row]:
    """Rows by the id under the first of `keys` that is there. Raises DataError for an id that comes twice."""
    found: dict[str, Row] = {}
    for row in rows:
        name = row.name(*keys)
        if name in found:
            raise DataError(f"{row.where}: the id '{name}' comes twice, first in {found[name].where}.")
        found[name] = row
    return found


def check_keys(
    where: str, keys: Collection[str], needed: Collection[str], known: Collection[str], *, told: bool = False
) -> bool:
    """Keys that are missing raise DataError; those that nobody reads are reported, unless that was `told` before.

    Returns whether a report has been made.
    """
    missing = sorted({*needed} - {*keys})
    if missing:
        raise DataError(f"{where}: missing {missing}, got {sorted(keys)}.")
    unknown = sorted({*keys} - {*needed, *known})
    if unknown and not told:
        log.warning("%s: %s are not read. Known keys: %s.", where, unknown, ", ".join(sorted({*needed, *known})))
    return told or bool(unknown)
