"""Decode every frame from the first packet on: slow, and right for any file. Its count and its times are the truth.

Only the worker process imports this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import av

from encoder.video.container import Movie, no_picture_error
from encoder.video.sampling import sample_span
from encoder.video.timeline import Timeline, believable_stamps, make_timeline

Span = tuple[float | None, float | None]


class TooSlowError(Exception):
    """Decoding everything would not end in time."""


def decode_all(movie: Movie, *, threads: bool = False) -> Iterator[av.VideoFrame]:
    """All frames that decode, in the order of the decoder. With `threads`, those near damage may be lost or wrong."""
    if threads:
        movie.stream.thread_type = "AUTO"
    else:
        movie.stream.codec_context.thread_count = 1
    for packet in movie.packets():
        yield from movie.decode(packet)
    yield from movie.decode(None)


def read_linear(
    reopen: Callable[[], Movie],
    guess: set[int],
    num_frames: int,
    span: Span,
    keep: Callable[[int, av.VideoFrame], None],
    *,
    places: Sequence[float] | None = None,
    threads: bool,
    deadline: float,
) -> tuple[Timeline, list[int], Movie]:
    """Timeline, the sampled indices in it, and the movie; hands the sampled frames to `keep` by decoding position.

    `guess` names the positions that will probably be wanted; where the count proves it wrong, a second pass follows.
    Nothing is held back here, so memory does not grow with the length of the file. num_frames = 0 only counts.
    Raises TooSlowError past `deadline` (monotonic), VideoError when nothing decodes.
    """
    movie = reopen()
    frames: list[tuple[int | None, int | None, int]] = []  # pts, dts, duration
    for position, frame in enumerate(decode_all(movie, threads=threads)):
        if time.monotonic() > deadline:
            raise TooSlowError
        frames.append((frame.pts, frame.dts, frame.duration or 0))
        if position in guess or position == 0:
            keep(position, frame)
    if not frames:
        raise no_picture_error(movie)
    tick = float(movie.stream.time_base)
    timeline = make_timeline(believable_stamps(frames, tick=tick), tick=tick, rate=movie.rate)
    if not num_frames:
        return timeline, [], movie
    picks = sample_span(timeline.times, num_frames, *span, places)
    missing = {timeline.order[i] for i in picks} - guess - {0}
    if missing:
        for position, frame in enumerate(decode_all(reopen(), threads=threads)):
            if time.monotonic() > deadline:
                raise TooSlowError
            if position in missing:
                keep(position, frame)
            if position >= max(missing):
                break
    return timeline, picks, movie
