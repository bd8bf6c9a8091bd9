"""Decoded frames to pictures: RGB, upright, square pixels, one size. Only the worker process imports this module."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from encoder.video.container import check_size
from encoder.video.geometry import Geometry, orientation_of, sane_pixel_shape


class Painter:
    """Every frame gets the display size of the first, whatever size the stream changes to later."""

    def __init__(self, pixel_shape: Fraction | None, short_side: int) -> None:
        self._pixel_shape = sane_pixel_shape(pixel_shape)
        self._short_side = short_side
        self._geometry: Geometry | None = None

    @property
    def geometry(self) -> Geometry:
        """Of the first frame that was measured; one must have been."""
        if self._geometry is None:
            raise ValueError("the geometry is known only after the first frame: call measure() or paint() before.")
        return self._geometry

    def measure(self, frame: av.VideoFrame) -> Geometry:
        """Size and orientation by the first frame. Raises VideoError when a frame is too large."""
        check_size(frame.width, frame.height)
        if self._geometry is None:
            matrix = frame.side_data.get("DISPLAYMATRIX")
            self._geometry = Geometry(
                coded=(frame.width, frame.height),
                pixel_shape=self._pixel_shape,
                orientation=orientation_of(bytes(matrix) if matrix else None),
            )
        return self._geometry

    def paint(self, frame: av.VideoFrame) -> np.ndarray:
        """RGB (H, W, 3), scaled before anything else so that large frames are never copied."""
        geometry = self.measure(frame)
        width, height = geometry.scaled(self._short_side)
        if geometry.orientation.transpose:
            width, height = height, width
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
        return geometry.orientation.apply(rgb)
