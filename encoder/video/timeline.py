"""Frames on the time axis: order of display, seconds from the first frame, length and average rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Every frame of a file in the order of display."""

    order: list[int]
    """Position of each displayed frame in the list that the timeline was made from."""
    times: list[float]
    """Seconds from the first frame, ascending."""
    duration: float
    """Seconds from the first frame to the end of the last."""

    @property
    def fps(self) -> float:
        return len(self.times) / self.duration if self.duration > 0 else 0.0


def make_timeline(stamps: Sequence[tuple[int | None, int]], *, tick: float, rate: float) -> Timeline:
    """Order frames by their timestamps; `stamps` are (timestamp or None, duration) in units of `tick` seconds.

    A frame without a timestamp follows the one before it at `rate` frames a second.

    >>> make_timeline([(2, 1), (6, 1), (4, 1), (8, 1)], tick=0.5, rate=1).times
    [0.0, 1.0, 2.0, 3.0]
    """
    step = 1.0 / rate
    seconds: list[float] = []
    for stamp, _ in stamps:
        if stamp is not None:
            seconds.append(stamp * tick)
        else:
            seconds.append(seconds[-1] + step if seconds else 0.0)
    order = sorted(range(len(seconds)), key=seconds.__getitem__)
    first, last = seconds[order[0]], seconds[order[-1]]
    tail = stamps[order[-1]][1] * tick
    if tail <= 0:  # the container does not say how long the last frame is shown: as long as the others
        tail = (last - first) / (len(order) - 1) if last > first else step
    return Timeline(order=order, times=[seconds[i] - first for i in order], duration=last - first + tail)
