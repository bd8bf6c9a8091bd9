"""Inside the worker: how one file is read. Decides between Pillow and PyAV.

`keep(name, picture)` sends one upright, scaled RGB picture (H, W, 3) to the parent; memory never holds many.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import numpy as np

from encoder.video.container import Movie, check_size, open_movie
from encoder.video.geometry import Geometry, orientation_of, sane_pixel_shape
from encoder.video.linear import read_linear
from encoder.video.picture import read_picture
from encoder.video.sniff import named_like_a_video, open_regular, recognise

Keep = Callable[[int, np.ndarray], None]


def read(
    request: dict[str, Any], keep: Keep, announce: Callable[[int], None]
) -> tuple[dict[str, Any], list[float], list[int]]:
    """Info, times and names of the asked frames, in order; num_frames = 0 asks for the info alone. Raises VideoError."""
    av.logging.set_level(None)
    fd = open_regular(request["path"])
    kind = recognise(fd, request["path"])
    if kind.picture:
        info, times, picks = read_picture(fd, kind.picture, request, keep)
        return info, [times[i] for i in picks], picks
    with ExitStack() as stack:

        def reopen() -> Movie:
            stack.close()
            return stack.enter_context(open_movie(fd, kind))

        return _read_movie(request, reopen, keep)


class Painter:
    """Turns decoded frames upright, gives them square pixels and one size: that of the first frame."""

    def __init__(self, pixel_shape: Fraction | None, short_side: int) -> None:
        self._pixel_shape = sane_pixel_shape(pixel_shape)
        self._short_side = short_side
        self.geometry: Geometry | None = None

    def paint(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB (H, W, 3)."""
        check_size(frame.width, frame.height)
        if self.geometry is None:
            matrix = frame.side_data.get("DISPLAYMATRIX")
            self.geometry = Geometry(
                coded=(frame.width, frame.height),
                pixel_shape=self._pixel_shape,
                orientation=orientation_of(bytes(matrix) if matrix else None),
            )
        width, height = self.geometry.scaled(self._short_side)
        if self.geometry.orientation.transpose:
            width, height = height, width
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
        return self.geometry.orientation.apply(rgb)


def _read_movie(
    request: dict[str, Any], reopen: Callable[[], Movie], keep: Keep
) -> tuple[dict[str, Any], list[float], list[int]]:
    movie = reopen()
    painter = Painter(movie.stream.sample_aspect_ratio, request.get("short_side", 1))

    def paint(position: int, frame: av.VideoFrame) -> None:
        keep(position, painter.paint(frame))

    span = (request.get("start"), request.get("end"))
    timeline, picks, movie = read_linear(reopen, set(), request["num_frames"], span, paint)
    width, height = painter.geometry.display
    info = {
        "duration": timeline.duration,
        "fps": timeline.fps,
        "width": width,
        "height": height,
        "rotation": painter.geometry.orientation.rotation,
        "mirrored": painter.geometry.orientation.mirrored,
        "codec": movie.stream.codec_context.name,
        "container": movie.container.format.name,
        "num_frames": len(timeline.times),
        "is_image": movie.container.format.name == "gif" and len(timeline.times) == 1,
        "damaged": None,
    }
    if movie.damage:
        info["damaged"] = f"A part of the file is damaged or missing; {len(timeline.times)} frames could be read."
    if info["is_image"]:
        picks = picks[:1]
    return info, [timeline.times[i] for i in picks], [timeline.order[i] for i in picks]
