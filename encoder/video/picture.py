"""Still pictures and the animations that FFmpeg cannot decode, by Pillow. Only the worker process imports this module."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from encoder.video.container import check_size
from encoder.video.geometry import MAX_PIXELS
from encoder.video.info import VideoError
from encoder.video.sampling import sample_span

_EXIF_ORIENTATION = 0x0112


def read_picture(
    fd: int, name: str, request: dict[str, Any], keep: Callable[[int, np.ndarray], None]
) -> tuple[dict[str, Any], list[float], list[int]]:
    """Info, times and picks of a picture or an animation; `keep` gets scaled RGB frames (H, W, 3) by position.

    Raises VideoError when it cannot be read.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    Image.MAX_IMAGE_PIXELS = (
        MAX_PIXELS * 2
    )  # Pillow raises at twice its limit; ours is checked below with its own words
    try:
        with os.fdopen(os.dup(fd), "rb") as file, Image.open(file, formats=[name]) as image:
            check_size(*image.size)
            if image.format in ("WEBP", "AVIF") and image.is_animated:
                return _read_animation(image, name, request, keep)
            return _read_still(image, name, request, keep)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise VideoError(f"This {name} picture is damaged and cannot be read.") from error


def _read_still(
    image: Image.Image, name: str, request: dict[str, Any], keep: Callable[[int, np.ndarray], None]
) -> tuple[dict[str, Any], list[float], list[int]]:
    turn = image.getexif().get(_EXIF_ORIENTATION, 1)
    info = _facts(name, image.size, turn) | {"num_frames": 1, "is_image": True}
    if not request["num_frames"]:
        image.load()  # a probe promises that the picture can be shown
        return info, [0.0], []
    short_side = request["short_side"]
    image.draft("RGB", (2 * short_side, 2 * short_side))  # JPEG only: decode no more than is needed
    keep(0, _rgb(ImageOps.exif_transpose(image), short_side, info["width"], info["height"]))
    return info, [0.0], [0]


def _read_animation(
    image: Image.Image, name: str, request: dict[str, Any], keep: Callable[[int, np.ndarray], None]
) -> tuple[dict[str, Any], list[float], list[int]]:
    starts, clock = [], 0.0
    for frame in ImageSequence.Iterator(image):
        frame.load()
        starts.append(clock)
        clock += (frame.info.get("duration") or 100) / 1000.0  # as viewers do where no delay is given
    info = _facts(name, image.size, 1) | {"num_frames": len(starts), "duration": clock, "fps": len(starts) / clock}
    if not request["num_frames"]:
        return info, starts, []
    picks = sample_span(starts, request["num_frames"], request["start"], request["end"], request["places"])
    for i in sorted(set(picks)):
        image.seek(i)
        keep(i, _rgb(image, request["short_side"], *image.size))
    return info, starts, picks


def _facts(name: str, size: tuple[int, int], turn: int) -> dict[str, Any]:
    width, height = size if turn < 5 else size[::-1]
    return {
        "duration": 0.0,
        "fps": 0.0,
        "width": width,
        "height": height,
        "rotation": {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}.get(turn, 0),
        "mirrored": turn in (2, 4, 5, 7),
        "codec": name.lower(),
        "container": name.lower(),
        "is_image": False,
    }


def _rgb(image: Image.Image, short_side: int, width: int, height: int) -> np.ndarray:
    """Scaled RGB pixels (H, W, 3); what is transparent becomes white in stills, as in a viewer."""
    scale = min(1.0, short_side / min(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # Pillow would clip 16 bits, not scale them
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BOX if scale < 0.25 else Image.Resampling.BICUBIC)
    return np.asarray(image)
