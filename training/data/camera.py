"""Camera moves over a still picture: a window that slides or shrinks, with the words that tell its direction truly.

Axes: T frames.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOVES = {
    "left": ("the camera pans to the left", "the camera moves left", "panning left"),
    "right": ("the camera pans to the right", "the camera moves right", "panning right"),
    "in": ("the camera zooms in", "the camera moves closer", "zooming in"),
    "out": ("the camera zooms out", "the camera moves away", "zooming out"),
}
"""Directions and their three wordings. The window moves with the camera: what is seen moves the other way."""
BACKWARDS = {"left": "right", "right": "left", "in": "out", "out": "in"}
"""The direction of the same frames in reverse."""
FILMED = ("right", "in")
"""Moves whose states are computed: the other two are these in reverse."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a picture: its middle and its sides as fractions of the picture's, between 0 and 1."""

    x: float
    y: float
    side: float


def camera_path(move: str, num_frames: int, rng: random.Random) -> list[Window]:
    """T windows of one of MOVES at an even pace; how far it goes and where it starts is drawn.

    Raises KeyError for an unknown move, ValueError for fewer than two frames.
    """
    if move not in MOVES:
        raise KeyError(f"unknown camera move '{move}'. Known moves: {', '.join(MOVES)}.")
    if num_frames < 2:
        raise ValueError(f"a move takes two frames or more, got {num_frames}.")
    steps = [index / (num_frames - 1) for index in range(num_frames)]
    if move in ("left", "right"):
        side = rng.uniform(0.55, 0.75)
        travel = (1 - side) * rng.uniform(0.6, 1.0)
        start, y = rng.uniform(side / 2, 1 - side / 2 - travel), rng.uniform(side / 2, 1 - side / 2)
        path = [Window(x=start + travel * step, y=y, side=side) for step in steps]
        return path if move == "right" else path[::-1]
    wide, narrow = rng.uniform(0.85, 1.0), rng.uniform(0.4, 0.6)
    x, y = rng.uniform(wide / 2, 1 - wide / 2), rng.uniform(wide / 2, 1 - wide / 2)
    path = [Window(x=x, y=y, side=wide + (narrow - wide) * step) for step in steps]
    return path if move == "in" else path[::-1]


def moved(move: str, wording: int, caption: str) -> str:
    """The caption of a picture under a camera move, in one of the three wordings; "" for the move alone."""
    words = MOVES[move][wording]
    return f"{caption} {words[:1].upper()}{words[1:]}.".strip()


def film(picture: Tensor, path: list[Window], size: int) -> Tensor:
    """A picture uint8 (3, H, W) seen through the windows -> frames uint8 (T, 3, size, size), squashed as a video's are."""
    frames = []
    _, height, width = picture.shape
    for window in path:
        half_h, half_w = window.side * height / 2, window.side * width / 2
        top, left = round(window.y * height - half_h), round(window.x * width - half_w)
        bottom, right = round(window.y * height + half_h), round(window.x * width + half_w)
        part = picture[None, :, max(top, 0) : bottom, max(left, 0) : right].float()
        frame = F.interpolate(part, (size, size), mode="bicubic", antialias=True, align_corners=False)
        frames.append(frame.clamp(0, 255).round().byte())
    return torch.cat(frames)
