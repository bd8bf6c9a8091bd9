"""Frames to what a vision tower eats: resized, then normalised by its mean and standard deviation.

Shapes: T frames, 3 colours, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_squash(pixels: Tensor, size: int) -> Tensor:
    """uint8 (T, 3, H, W) -> float (T, 3, size, size) from 0 to 255; the aspect ratio is given up, no content is lost."""
    return _resize(pixels, size, size)


def resize_crop(pixels: Tensor, size: int) -> Tensor:
    """uint8 (T, 3, H, W) -> float (T, 3, size, size) from 0 to 255; the short side fits, the middle is kept."""
    height, width = pixels.shape[-2:]
    scale = size / min(height, width)
    resized = _resize(pixels, max(size, round(height * scale)), max(size, round(width * scale)))
    top = (resized.shape[-2] - size) // 2
    left = (resized.shape[-1] - size) // 2
    return resized[..., top : top + size, left : left + size]


def normalise(x: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(T, 3, H, W) from 0 to 255 -> the same shape, zero mean and unit deviation; mean and std are of values from 0 to 1."""
    shift = torch.tensor(mean, dtype=x.dtype, device=x.device).view(3, 1, 1)
    scale = torch.tensor(std, dtype=x.dtype, device=x.device).view(3, 1, 1)
    return (x / 255.0 - shift) / scale


@dataclass(frozen=True, kw_only=True)
class Transform:
    """uint8 (T, 3, H, W) -> normalised float (T, 3, size, size)."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: Literal["squash", "crop"] = "squash"

    def __post_init__(self) -> None:
        if self.mode not in ("squash", "crop"):
            raise ValueError(f"mode must be 'squash' or 'crop', got {self.mode!r}.")

    def __call__(self, pixels: Tensor) -> Tensor:
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"frames are (T, 3, H, W), got {tuple(pixels.shape)}.")
        resize = resize_squash if self.mode == "squash" else resize_crop
        return normalise(resize(pixels, self.size), self.mean, self.std)


def _resize(pixels: Tensor, height: int, width: int) -> Tensor:
    x = F.interpolate(pixels.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return x.clamp(0.0, 255.0)  # bicubic overshoots at edges
