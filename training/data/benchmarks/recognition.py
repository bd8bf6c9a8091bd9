"""Labelled data sets as a benchmark: which of its classes does a video show?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.data.datasets import hmdb51, kinetics400, ours, ssv2, ucf101
from training.data.datasets.clips import LabelledSet
from training.data.items import Item


@dataclass(frozen=True, kw_only=True)
class Recognition(Item):
    """A video whose class is to be recognised: `answers` holds its name in `classes`.

    source   the recording that it was cut from, None for one of its own
    """

    classes: tuple[str, ...]
    source: str | None = None

    @property
    def cluster(self) -> str:
        return self.source or self.video


READERS: dict[str, Callable[[Path], LabelledSet]] = {
    "recognition": ours.read,
    "kinetics400": kinetics400.read,
    "ssv2": ssv2.read,
    "hmdb51": hmdb51.read,
    "hmdb51_split2": lambda root: hmdb51.read(root, fold=2),
    "hmdb51_split3": lambda root: hmdb51.read(root, fold=3),
    "ucf101": ucf101.read,
    "ucf101_split2": lambda root: ucf101.read(root, fold=2),
    "ucf101_split3": lambda root: ucf101.read(root, fold=3),
}
"""Who reads the split of a benchmark that results are published on."""


def read(path: Path, *, name: str) -> list[Recognition]:
    """The videos of a benchmark of READERS; scores are also given by class. Raises DataError with file and line."""
    found = READERS[name](path)
    return [
        Recognition(
            id=video.name, video=video.video, question="Which action?", answers=(video.label,), start=video.start,
            end=video.end, groups={"class": video.label}, classes=found.classes, source=video.source,
        )
        for video in found.videos
    ]  # fmt: skip
