"""Clips to learn from, with what is said about each, and the examples that they make."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, by its path relative to the data, or its part from `start` to `end` in seconds; None is an end of it.

    said         its captions, or the name of its class
    recording    what clips share that are not independent: the recording that they were cut from
    """

    video: str
    said: tuple[str, ...]
    recording: str
    start: float | None = None
    end: float | None = None

    @property
    def name(self) -> str:
        """The path, and the part where it is one."""
        return self.video if self.start is None and self.end is None else f"{self.video}:{self.start}-{self.end}"


class Examples:
    """Every text of every clip is an example, in their order: a clip with 20 captions makes 20."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self._ends = np.cumsum([len(clip.said) for clip in clips], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self.clips) else 0

    def __getitem__(self, number: int) -> tuple[int, str]:
        """The index of the clip, and the text."""
        clip = int(np.searchsorted(self._ends, number, side="right"))
        return clip, self.clips[clip].said[number - int(self._ends[clip])]


def hold_out(clips: Sequence[Clip], count: int, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Clips to learn from and about `count` others to measure on, chosen by `seed`, both in their order.

    Recordings stay whole: clips of one are never on both sides, so a few more than `count` may be held out.
    """
    sizes = Counter(clip.recording for clip in clips)
    held_out, total = set(), 0
    for recording in random.Random(f"{seed}-held-out").sample(list(sizes), min(count, len(sizes))):
        if total < count:
            held_out.add(recording)
            total += sizes[recording]
    learned = [clip for clip in clips if clip.recording not in held_out]
    return learned, [clip for clip in clips if clip.recording in held_out]


def digest(clips: Iterable[Clip], classes: Sequence[str] = ()) -> str:
    """The start of a SHA-256 over all that is said of all clips, and over the classes in their order."""
    found = hashlib.sha256(json.dumps(classes).encode() if classes else b"")
    for clip in clips:
        found.update(json.dumps([clip.video, clip.said, clip.start, clip.end]).encode())
    return found.hexdigest()[:16]
