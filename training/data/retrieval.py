"""Text-video retrieval: videos and the captions that belong to them."""

from dataclasses import dataclass
from pathlib import Path, PurePath

from training.data.jsonl import DataError, read_rows

KNOWN_KEYS = {"id", "video", "caption", "captions", "split"}


@dataclass(frozen=True, kw_only=True)
class CaptionedVideo:
    """A video, by its path relative to the data file or folder, and every caption that is right for it.

    split   the name of its split, None where the file does not say
    end     the seconds that the captions are about, from the beginning; None for the whole
    """

    video: str
    captions: tuple[str, ...]
    split: str | None = None
    end: float | None = None


def read_retrieval(path: Path) -> list[CaptionedVideo]:
    """All videos of a file in the order of their first rows; rows of one video join. Video paths are relative to the file.

    A row is {"video", "caption"} or {"video", "captions": [...]}; `split` may stand beside them, and `id`, which is not
    used. Captions stay as they are written, also where one comes twice. Whether the videos can be read shows later.
    Raises DataError with file and line, also for a file that mixes splits: their scores would mean nothing together.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    captions: dict[str, list[str]] = {}
    split: str | None = None
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        video, said = _parse(where, row)
        split = split or row.get("split")
        if row.get("split", split) != split:
            raise DataError(f"{where}: expected one split in a file, got '{row['split']}' after '{split}'.")
        captions.setdefault(PurePath(video).as_posix(), []).extend(said)  # ./a.mp4 is a.mp4
    if not captions:
        raise DataError(f"{path}: expected at least one video with a caption, got none.")
    return [CaptionedVideo(video=video, captions=tuple(said), split=split) for video, said in captions.items()]


def _parse(where: str, row: dict) -> tuple[str, list[str]]:
    """The video of a row and its captions. Raises DataError that says what is wrong `where`."""
    if unknown := sorted(row.keys() - KNOWN_KEYS):
        raise DataError(f"{where}: unknown {unknown}. Known keys: {', '.join(sorted(KNOWN_KEYS))}.")
    for key in ("video", "split") if "split" in row else ("video",):
        if not isinstance(row.get(key), str) or not row[key]:
            raise DataError(f"{where}: expected text in '{key}', got {row.get(key)!r}.")
    kinds = [key for key in ("caption", "captions") if key in row]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected one of caption, captions, got {kinds or 'neither'}.")
    said = row["captions"] if kinds == ["captions"] else [row["caption"]]
    if not isinstance(said, list) or not said or not all(isinstance(text, str) and text.strip() for text in said):
        raise DataError(f"{where}: expected in '{kinds[0]}' text that is not empty, got {row[kinds[0]]!r:.80}.")
    return row["video"], said
