"""Frames on the time axis: order of display, seconds from the first frame, length and average rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Stamp = tuple[int | None, int]
"""Presentation time (or None) and duration (or 0) of a frame, in ticks of the stream."""

_JUMP_BACK = 1.0
"""Seconds. Times that fall back further start anew: recordings were joined without rewriting them."""


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


def make_timeline(stamps: Sequence[Stamp], *, tick: float, rate: float) -> Timeline:
    """Order frames by their times; a tick is so many seconds.

    A frame without a time follows the one before it as far as frames are apart on average, or else at `rate`.

    >>> make_timeline([(2, 1), (6, 1), (4, 1), (8, 1)], tick=0.5, rate=1).times
    [0.0, 1.0, 2.0, 3.0]
    >>> make_timeline([(None, 0), (None, 0)], tick=0.5, rate=4).times
    [0.0, 0.25]
    """
    step = _usual_step(stamps, tick, rate)
    seconds: list[float] = []
    for stamp, _ in stamps:
        if stamp is not None:
            seconds.append(stamp * tick)
        else:
            seconds.append(seconds[-1] + step if seconds else 0.0)
    order = sorted(range(len(seconds)), key=seconds.__getitem__)
    first, last = seconds[order[0]], seconds[order[-1]]
    stamp, length = stamps[order[-1]]
    tail = length * tick if stamp is not None and length > 0 else step
    return Timeline(order=order, times=[seconds[i] - first for i in order], duration=last - first + tail)


def believable_stamps(frames: Sequence[tuple[int | None, int | None, int]], *, tick: float) -> list[Stamp]:
    """(pts, dts, duration) of frames in the order of the decoder, which is that of display -> stamps that fit the order.

    AVI stores no presentation times, and what is made up for them runs back and forth; decoding times then do not.

    >>> believable_stamps([(2, 4, 1), (6, 6, 1), (4, 8, 1), (10, 10, 1), (8, None, 1)], tick=0.1)
    [(4, 1), (6, 1), (8, 1), (10, 1), (None, 1)]
    >>> believable_stamps([(0, 0, 5), (5, 5, 5), (0, 0, 5), (5, 5, 5)], tick=1.0)
    [(0, 5), (5, 5), (10, 5), (15, 5)]
    """
    use_dts = _steps_back(pts for pts, _, _ in frames) > _steps_back(dts for _, dts, _ in frames)
    stamps: list[Stamp] = []
    shift, gap, last = 0, 1, None
    for pts, dts, duration in frames:
        stamp = dts if use_dts else pts
        if stamp is not None:
            stamp += shift
            if last is not None and (last - stamp) * tick > _JUMP_BACK:
                shift += last + gap - stamp
                stamp = last + gap
            if last is not None and stamp > last:
                gap = stamp - last
            last = stamp
        stamps.append((stamp, duration))
    return stamps


def _steps_back(stamps: Iterable[int | None]) -> int:
    known = [stamp for stamp in stamps if stamp is not None]
    return sum(after <= before for before, after in pairwise(known))


def _usual_step(stamps: Sequence[Stamp], tick: float, rate: float) -> float:
    """Seconds from one frame to the next: their mean distance, their stated duration, or 1 / rate."""
    known = [stamp for stamp, _ in stamps if stamp is not None]
    if len(known) > 1 and max(known) > min(known):
        return (max(known) - min(known)) * tick / (len(known) - 1)
    return stamps[0][1] * tick if stamps and stamps[0][1] > 0 else 1.0 / rate
