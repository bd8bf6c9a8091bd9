"""From coded to displayed pictures: orientation, pixel shape and scaling. H rows, W columns."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

MAX_PIXELS = 40_000_000
"""8K passes, a 12000x12000 bomb does not."""
_SANE_PIXEL_SHAPE = 16
"""Pixels wider or taller than this come from broken headers, not from cameras."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight ways to put a picture upright: first transposed, then flipped."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0
    """Clockwise degrees as players report it."""

    @property
    def mirrored(self) -> bool:
        return self.transpose ^ self.flip_x ^ self.flip_y

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W, 3) or (W, H, 3)."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(display_matrix: bytes | None) -> Orientation:
    """Nearest of the eight orientations to a 3x3 display matrix (16.16 integers, row vectors times matrix).

    >>> orientation_of(struct.pack("=9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)).rotation
    90
    """
    if not display_matrix or len(display_matrix) != 36:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", display_matrix)
    if not (a or b) or not (c or d):
        return Orientation()
    rotation = round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0, rotation=rotation)
    return Orientation(flip_x=a < 0, flip_y=d < 0, rotation=rotation)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How one coded picture size is displayed."""

    coded: tuple[int, int]
    """Width, height as stored."""
    pixel_shape: Fraction
    """Width of a stored pixel over its height."""
    orientation: Orientation

    @property
    def display(self) -> tuple[int, int]:
        """Width, height upright with square pixels; the height is kept."""
        width, height = self.coded
        shape = self.pixel_shape
        if self.orientation.transpose:
            width, height, shape = height, width, 1 / shape
        return max(1, round(width * shape)), height

    def scaled(self, short_side: int) -> tuple[int, int]:
        """Display width and height with the shorter side at most `short_side`."""
        width, height = self.display
        scale = min(1.0, short_side / min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


def sane_pixel_shape(ratio: Fraction | None) -> Fraction:
    """A pixel aspect ratio, or 1 for none and for nonsense."""
    if ratio is None or not Fraction(1, _SANE_PIXEL_SHAPE) <= ratio <= _SANE_PIXEL_SHAPE:
        return Fraction(1)
    return Fraction(ratio)
