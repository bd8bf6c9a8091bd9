"""What the readers of data sets give: videos with captions, videos with a class, and the media that are missing."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

log = logging.getLogger(__name__)

MAX_NAMED = 10
"""Missing files that one message names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledVideo:
    """A video, by its path relative to the data set's folder, and the name of its class.

    captions     what its owners also say about it in words
    source       the recording that it was cut from, where several videos share one: they are not independent
    start, end   the part that shows the class in seconds, None for the whole
    """

    video: str
    label: str
    split: str
    captions: tuple[str, ...] = ()
    source: str | None = None
    start: float | None = None
    end: float | None = None

    @property
    def name(self) -> str:
        """The path, and the part where it is one: no two videos of a set share it."""
        return self.video if self.start is None and self.end is None else f"{self.video}:{self.start}-{self.end}"


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """`classes` are all names of the data set in the order of its owners, also those that no video of the split has."""

    classes: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]


class HasVideo(Protocol):
    """Anything with the path of a video, relative to the data set's folder."""

    @property
    def video(self) -> str: ...


def missing_media(root: Path, videos: Iterable[HasVideo]) -> list[str]:
    """Paths relative to `root` of the videos that are not there, each once and in their order. A warning names them."""
    paths = list(dict.fromkeys(video.video for video in videos))
    missing = [path for path in paths if not (root / path).exists()]
    if missing:
        named = ", ".join(missing[:MAX_NAMED])
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        log.warning("%d of %d videos are missing in %s: %s%s", len(missing), len(paths), root, named, more)
    return missing


def captioned(rows: Iterable[tuple[str, str]], *, split: str, source: Path) -> list[CaptionedVideo]:
    """Pairs of video and caption -> videos in the order of their first pairs. Raises DataError when there are none."""
    captions: dict[str, list[str]] = {}
    for video, caption in rows:
        captions.setdefault(video, []).append(caption)
    if not captions:
        raise DataError(f"{source}: expected at least one video with a caption, got none.")
    return [CaptionedVideo(video=video, captions=tuple(said), split=split) for video, said in captions.items()]


def labelled(classes: Sequence[str], videos: Sequence[LabelledVideo], source: Path) -> LabelledSet:
    """A set of videos. Raises DataError when there are none, or when a video or a class comes twice."""
    if not videos:
        raise DataError(f"{source}: expected at least one video, got none.")
    for what, names in (("class", classes), ("video", [video.name for video in videos])):
        if len(set(names)) < len(names):
            seen: set[str] = set()
            double = next(name for name in names if name in seen or seen.add(name))
            raise DataError(f"{source}: the {what} '{double}' comes twice.")
    return LabelledSet(classes=tuple(classes), videos=tuple(videos))


def check_split(split: str, known: Iterable[str]) -> None:
    """Raises ValueError that lists the known splits."""
    if split not in (names := tuple(known)):
        raise ValueError(f"unknown split '{split}'. Known splits: {', '.join(names)}.")
