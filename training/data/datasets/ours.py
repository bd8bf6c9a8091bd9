"""Anybody's labelled videos and pictures, in our JSONL: rows {"video" or "image", "label"}, as training reads them.

`start` and `end` take a part of a video. Media are relative to the file. The classes are the labels of the file in alphabetical order.
"""

from pathlib import Path, PurePath

from training.data.benchmarks.files import Row
from training.data.datasets.clips import LabelledSet, LabelledVideo, labelled
from training.data.jsonl import KNOWN_KEYS, DataError, read_rows


def read(path: Path) -> LabelledSet:
    """All rows of a file. Raises DataError with file and line, also for a file that mixes splits."""
    if not path.is_file():
        raise DataError(f"{path}: expected a JSONL file of labels, found {'a folder' if path.is_dir() else 'none'}.")
    videos: list[LabelledVideo] = []
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        videos.append(_video(where, row))
        if videos[-1].split != videos[0].split:
            raise DataError(
                f"{where}: expected one split in a file, got '{videos[-1].split}' after '{videos[0].split}'."
            )
    return labelled(sorted({video.label for video in videos}), videos, path)


def _video(where: str, row: dict) -> LabelledVideo:
    if unknown := sorted(row.keys() - KNOWN_KEYS):
        raise DataError(f"{where}: unknown {unknown}. Known keys: {', '.join(sorted(KNOWN_KEYS))}.")
    kinds = [key for key in ("image", "video") if key in row]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected one of image, video, got {kinds or 'neither'}.")
    for key in (kinds[0], "label"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise DataError(f"{where}: expected text in '{key}', got {row.get(key)!r}.")
    cells = Row(where, row)
    start, end = (cells.number(key) if row.get(key) is not None else None for key in ("start", "end"))
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise DataError(f"{where}: expected 0 <= start < end, got start {start} and end {end}.")
    return LabelledVideo(
        video=PurePath(row[kinds[0]]).as_posix(), label=cells.text("label"), split=row.get("split", "train"),
        start=start, end=end,
    )  # fmt: skip
