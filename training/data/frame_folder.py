"""A folder of pictures in place of a video, one picture a frame. T frames, 3 colours, H rows, W columns."""

import re
from pathlib import Path

import torch

from encoder.video import VideoError, VideoFrames, VideoInfo, read_frames
from encoder.video.sampling import sample_span

SUFFIXES = {".jpg", ".jpeg", ".png"}
TVQA_FPS = 3.0
"""Of the folders in MVBench, the only ones among the benchmarks; they come from TVQA."""


def read_frame_folder(
    folder: Path,
    num_frames: int,
    *,
    fps: float = TVQA_FPS,
    start: float | None = None,
    end: float | None = None,
    short_side: int = 336,
) -> VideoFrames:
    """`num_frames` pictures of the folder or of its span `start`..`end` (seconds), chosen as `read_frames` chooses.

    Pictures follow each other at `fps` in the order of the numbers in their names, the first one at 0 seconds.
    Raises VideoError for a folder that is missing or has no picture, and for pictures that differ in size.
    """
    if fps <= 0:
        raise ValueError(f"expected more than 0 pictures a second, got {fps}.")
    pictures = _pictures(folder)
    times = [number / fps for number in range(len(pictures))]
    picks = sample_span(times, num_frames, start, end)
    # Each picture is opened once, however often a short folder repeats it.
    read = {pick: read_frames(pictures[pick], 1, short_side=short_side) for pick in dict.fromkeys(picks)}
    first = read[picks[0]]
    for pick, picture in read.items():
        if picture.pixels.shape != first.pixels.shape:
            raise VideoError(
                f"The pictures in {folder.name} differ in size: {pictures[pick].name} has "
                f"{picture.info.width} x {picture.info.height}, another one {first.info.width} x {first.info.height}."
            )
    info = VideoInfo(
        duration=len(pictures) / fps, fps=fps, width=first.info.width, height=first.info.height, rotation=0,
        codec=first.info.codec, num_frames=len(pictures), is_image=False, container="folder",
    )  # fmt: skip
    return VideoFrames(
        pixels=torch.cat([read[pick].pixels for pick in picks]),
        times=torch.tensor([times[pick] for pick in picks], dtype=torch.float64),
        info=info,
    )


def _pictures(folder: Path) -> list[Path]:
    """Pictures by the numbers in their names: 10.jpg comes after 9.jpg."""
    if not folder.is_dir():
        raise VideoError(f"There is no folder {folder}.")
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise VideoError(f"The folder {folder} holds no jpg or png pictures.")
    return sorted(found, key=_reading_order)


def _reading_order(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
