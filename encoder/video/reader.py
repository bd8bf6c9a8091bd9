"""Inside the worker: how one file is read, from its first bytes to the sampled frames.

Pictures go to Pillow. Small videos are decoded from end to end, which settles count and times for good. Of larger ones
the packets are counted and only the sampled frames decoded, by decord or PyAV, as long as nothing proves them wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import av
import numpy as np

from encoder.video.container import Damage, Movie, open_movie
from encoder.video.fast import DecordError, read_by_decord, suits_decord
from encoder.video.index import Index, read_index
from encoder.video.info import VideoError
from encoder.video.jump import read_jumps
from encoder.video.linear import Span, TooSlowError, decode_all, read_linear
from encoder.video.painter import Painter
from encoder.video.picture import read_picture
from encoder.video.process import DECORD_STARTS
from encoder.video.sampling import sample_span
from encoder.video.sniff import open_regular, recognise
from encoder.video.timeline import Timeline

Keep = Callable[[int, np.ndarray], None]
Sampled = tuple[dict[str, Any], list[float], list[int]]
"""Info, times of the sampled frames, and the names under which they were kept."""

# Work is measured in decoded pixels; two busy cores manage about 400 million a second of H.264.
_SMALL = 200e6
"""Decoding all of it costs less than a doubt about its frames."""
_DECORD_MOST = 1000e6
"""Beyond this decord, which decodes even the frames that nothing refers to, takes much longer than PyAV."""
_MOST = 6000e6
"""More than this would take too long: samples move to the key frame before them, and their times with them."""
_LINEAR_SHARE = 0.5
"""Of the time, before decoding everything is given up for the nearest frames."""
_JUMP_SHARE = 0.65
"""Of the time, before the samples still missing become key frames."""


def read(request: dict[str, Any], keep: Keep, announce: Callable[[int], None]) -> Sampled:
    """Read what `request` asks; num_frames = 0 asks for the info alone. `announce` tells the parent of a stage.

    `keep(name, picture)` sends one upright, scaled RGB picture (H, W, 3) away at once, so memory never holds many.
    Raises VideoError.
    """
    av.logging.set_level(None)
    with open_regular(request["path"]) as fd, ExitStack() as stack:
        kind = recognise(fd, request["path"])
        if kind.picture:
            info, times, picks = read_picture(fd, kind.picture, request, keep)
            return info, [times[i] for i in picks], picks

        def reopen() -> Movie:
            stack.close()
            return stack.enter_context(open_movie(fd, kind))

        return _MovieReading(fd, request, reopen, keep, announce).read()


class _MovieReading:
    """One request on one video."""

    def __init__(
        self,
        fd: int,
        request: dict[str, Any],
        reopen: Callable[[], Movie],
        keep: Keep,
        announce: Callable[[int], None],
    ) -> None:
        self._fd = fd
        self._num_frames: int = request["num_frames"]
        self._span: Span = (request.get("start"), request.get("end"))
        self._places: list[float] | None = request.get("places")
        self._short_side: int = request.get("short_side", 1)
        self._may_use_decord: bool = request["decord"]
        self._give_up = time.monotonic() + request["seconds"] * _LINEAR_SHARE
        self._hurry = time.monotonic() + request["seconds"] * _JUMP_SHARE
        self._reopen = reopen
        self._keep = keep
        self._announce = announce

    def read(self) -> Sampled:
        movie = self._reopen()
        self._painter = Painter(movie.stream.sample_aspect_ratio, self._short_side)
        index = read_index(movie)
        context = movie.stream.codec_context
        self._pixels = max(1, context.width * context.height)
        if len(index.stamps) * self._pixels > _SMALL and not index.doubts:
            sampled = self._sampled(index)
            if sampled is not None:
                return sampled
        try:
            return self._all(index)
        except TooSlowError:
            return self._nearest(index)

    def _all(self, index: Index) -> Sampled:
        """Decode everything."""
        guess: set[int] = set()
        if self._num_frames:
            # A decoder puts frames out in the order of display, so these are decoding positions too.
            with suppress(VideoError):  # the packets may be wrong about what lies in the span; decoding will tell
                guess = set(self._picks(index.timeline))

        def keep(position: int, frame: av.VideoFrame) -> None:
            if self._num_frames:
                self._keep(position, self._painter.paint(frame))
            else:
                self._painter.measure(frame)

        small = len(index.stamps) * self._pixels <= _SMALL
        timeline, picks, movie = read_linear(
            self._reopen,
            guess,
            self._num_frames,
            self._span,
            keep,
            places=self._places,
            threads=not small and "damage" not in index.doubts,
            deadline=float("inf") if small else self._give_up,
        )
        return self._answer(movie, timeline, picks, [timeline.order[i] for i in picks])

    def _sampled(self, index: Index) -> Sampled | None:
        """Decode the sampled frames alone; None when that proves the packets wrong."""
        movie = self._measure_first()
        if movie is None:
            return None
        timeline = index.timeline
        if not self._num_frames:
            return self._answer(movie, timeline, [], [])
        picks, cost = self._affordable(index, self._picks(timeline))
        if self._may_use_decord and cost <= _DECORD_MOST and self._suits_decord(movie, index):
            unique = sorted(set(picks))
            self._announce(DECORD_STARTS)
            with suppress(DecordError):  # PyAV then reads it
                read_by_decord(self._fd, self._painter.geometry, self._short_side, timeline.times, unique, self._keep)
                return self._answer(movie, timeline, picks, picks)
        return self._by_jumps(index, picks, settle=False)

    def _nearest(self, index: Index) -> Sampled:
        """The frames nearest to the sampled packets, for a video whose packets lie and that is too long to decode."""
        movie = self._measure_first()
        if movie is None:
            raise VideoError("The video is damaged: no picture of it could be decoded in time.")
        if not self._num_frames:
            return self._answer(movie, index.timeline, [], [])
        picks, _ = self._affordable(index, self._picks(index.timeline))
        sampled = self._by_jumps(index, picks, settle=True)
        if sampled is None:
            raise VideoError("The video is damaged: none of the sampled pictures could be decoded.")
        return sampled

    def _by_jumps(self, index: Index, picks: list[int], *, settle: bool) -> Sampled | None:
        """Frames by PyAV, or the neighbours that it found instead if they `settle` it or time is short; else None."""
        timeline = index.timeline
        found: dict[int, float] = {}
        wanted = {timeline.order[i]: timeline.times[i] for i in picks}

        def keep(position: int, frame: av.VideoFrame) -> None:
            found[position] = wanted[position]
            self._keep(position, self._painter.paint(frame))

        damage = Damage()
        neighbours = read_jumps(self._reopen, index, set(wanted), keep, damage, self._hurry)
        proven_wrong = bool(damage or neighbours) and time.monotonic() < self._hurry
        if not found or (proven_wrong and not settle):
            return None
        movie = self._reopen()
        movie.damage = damage
        first = min((stamp for stamp, _ in index.stamps if stamp is not None), default=0)
        for position, stamp in neighbours.items():
            if position in found and stamp is not None:
                found[position] = max(0.0, (stamp - first) * float(movie.stream.time_base))
        names = [min(found, key=lambda p, i=i: abs(found[p] - timeline.times[i])) for i in picks]
        return self._answer(movie, timeline, picks, names, times=[found[name] for name in names])

    def _measure_first(self) -> Movie | None:
        """A freshly opened movie after its first frame was measured; None when none decodes."""
        movie = self._reopen()
        first = next(decode_all(movie), None)
        if first is None:
            return None
        self._painter.measure(first)
        return movie

    def _picks(self, timeline: Timeline) -> list[int]:
        return sample_span(timeline.times, self._num_frames, *self._span, self._places)

    def _affordable(self, index: Index, picks: list[int]) -> tuple[list[int], float]:
        """The picks, or the key frames before them where decoding up to them would take too long; pixels to decode."""
        order = index.timeline.order
        cost = index.cost([order[i] for i in set(picks)]) * self._pixels
        if cost <= _MOST:
            return picks, cost
        place = {position: i for i, position in enumerate(order)}
        picks = [place[index.key_before(order[i])] for i in picks]
        return picks, index.cost([order[i] for i in set(picks)]) * self._pixels

    def _suits_decord(self, movie: Movie, index: Index) -> bool:
        return suits_decord(
            demuxer=movie.demuxer,
            codec=movie.codec,
            pixel_format=movie.stream.codec_context.pix_fmt,
            index=index,
            geometry=self._painter.geometry,
        )

    def _answer(
        self,
        movie: Movie,
        timeline: Timeline,
        picks: list[int],
        names: list[int],
        times: list[float] | None = None,
    ) -> Sampled:
        count = len(timeline.times)
        width, height = self._painter.geometry.display
        still = movie.demuxer in ("gif", "apng") and count == 1
        damaged = f"A part of the file is damaged or missing; {count} frames could be read." if movie.damage else None
        info = {
            "duration": 0.0 if still else timeline.duration,
            "fps": 0.0 if still else timeline.fps,
            "width": width,
            "height": height,
            "rotation": self._painter.geometry.orientation.rotation,
            "mirrored": self._painter.geometry.orientation.mirrored,
            "codec": movie.codec,
            "container": movie.demuxer,
            "num_frames": count,
            "is_image": still,
            "damaged": damaged,
        }
        times = [timeline.times[i] for i in picks] if times is None else times
        return (info, times[:1], names[:1]) if still else (info, times, names)
