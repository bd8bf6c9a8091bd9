"""What reading a video gives: facts, frames, or an error in the user's words. T frames, 3 colours, H rows, W columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the worker imports this module and must start without torch
    from torch import Tensor


class VideoError(Exception):
    """A file cannot be shown; the message is meant for the person who chose the file."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Facts about one file, counted and measured rather than read from its header."""

    duration: float
    """Seconds from the first frame to the end of the last one; 0 for a picture."""
    fps: float
    """Average frames a second; 0 for a picture."""
    width: int
    """Columns as displayed: after rotation and with square pixels."""
    height: int
    rotation: int
    """Clockwise degrees (0, 90, 180, 270) that were applied to show the picture upright."""
    codec: str
    num_frames: int
    is_image: bool
    container: str
    mirrored: bool = False
    damaged: str | None = None
    """A sentence for the user when only a part of the file could be read."""


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Sampled frames in the order of time."""

    pixels: Tensor
    """uint8 (T, 3, H, W)."""
    times: Tensor
    """float64 (T,), seconds from the first frame of the file."""
    info: VideoInfo
