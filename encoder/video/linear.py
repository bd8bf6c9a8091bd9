"""Decode every frame from the first packet on: slow, and right for any file; its count and times are the truth.

Only the worker process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import av

from encoder.video.container import Movie, no_picture_error
from encoder.video.sampling import sample_span


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Every frame of a file in the order of display."""

    order: list[int]
    """Decoding position of each displayed frame."""
    times: list[float]
    """Seconds from the first frame, ascending."""
    duration: float

    @property
    def fps(self) -> float:
        return len(self.times) / self.duration if self.duration > 0 else 0.0


def decode_all(movie: Movie) -> Iterator[av.VideoFrame]:
    """All frames that decode, in the order of the decoder."""
    # Frame threads lose frames near damage; slice threads do not.
    movie.stream.thread_type = "SLICE"
    for packet in movie.packets():
        yield from movie.decode(packet)
    yield from movie.decode(None)


def make_timeline(stamps: Sequence[tuple[int | None, int]], tick: float, rate: float) -> Timeline:
    """Put decoded frames in order; `stamps` are (pts or None, duration) in ticks of `tick` seconds.

    Frames without a timestamp follow the one before at `rate` frames a second.
    """
    step = 1.0 / rate
    seconds: list[float] = []
    for pts, _ in stamps:
        if pts is not None:
            seconds.append(pts * tick)
        else:
            seconds.append(seconds[-1] + step if seconds else 0.0)
    order = sorted(range(len(seconds)), key=seconds.__getitem__)
    first, last = seconds[order[0]], seconds[order[-1]]
    tail = stamps[order[-1]][1] * tick
    if tail <= 0:
        tail = (last - first) / (len(order) - 1) if len(order) > 1 and last > first else step
    return Timeline(order=order, times=[seconds[i] - first for i in order], duration=last - first + tail)


def read_linear(
    reopen: Callable[[], Movie],
    guess: set[int],
    num_frames: int,
    span: tuple[float | None, float | None],
    keep: Callable[[int, av.VideoFrame], None],
) -> tuple[Timeline, list[int], Movie]:
    """Count and time all frames; hand the wanted ones to `keep` by decoding position.

    `guess` names the positions that will probably be wanted; where the count proves it wrong, a second pass follows.
    Nothing is held back here, so memory does not grow with the length of the file. num_frames = 0 only counts.
    """
    movie = reopen()
    stamps: list[tuple[int | None, int]] = []
    for position, frame in enumerate(decode_all(movie)):
        stamps.append((frame.pts, frame.duration or 0))
        if position in guess or position == 0:
            keep(position, frame)
    if not stamps:
        raise no_picture_error(movie)
    rate = movie.stream.average_rate or movie.stream.guessed_rate or 25
    timeline = make_timeline(stamps, float(movie.stream.time_base), float(rate))
    if not num_frames:
        return timeline, [], movie
    picks = sample_span(timeline.times, num_frames, *span)
    missing = {timeline.order[i] for i in picks} - guess - {0}
    if missing:
        for position, frame in enumerate(decode_all(reopen())):
            if position in missing:
                keep(position, frame)
            if position >= max(missing):
                break
    return timeline, picks, movie
