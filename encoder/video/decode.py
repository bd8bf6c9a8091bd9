"""`read_frames`: sampled pictures of a file, decoded in a worker process. T frames, 3 colours, H rows, W columns."""

from __future__ import annotations

import os

import numpy as np

from encoder.video.info import VideoFrames, VideoInfo
from encoder.video.process import run_worker


def read_frames(
    path: str | os.PathLike[str],
    num_frames: int,
    *,
    start: float | None = None,
    end: float | None = None,
    short_side: int = 336,
    timeout: float = 15.0,
) -> VideoFrames:
    """Decode `num_frames` frames, the middle ones of equal segments of the file or of its span `start`..`end` (seconds).

    Frames are turned upright, given square pixels and scaled so that the shorter side is at most `short_side`, never
    enlarged. A clip with fewer frames repeats them; a still picture gives T = 1 whatever `num_frames`.
    Raises VideoError with a message for the user when the file cannot be shown within `timeout` seconds.
    """
    import torch  # here, not above: the worker imports this package and must start without torch

    if num_frames < 1 or short_side < 1:
        raise ValueError(f"num_frames and short_side must be at least 1, got {num_frames} and {short_side}.")
    request = {
        "path": os.fsdecode(path),
        "num_frames": num_frames,
        "start": start,
        "end": end,
        "short_side": short_side,
    }
    answer = run_worker(request, timeout=timeout)
    facts = answer.facts
    height, width = facts["size"]
    pixels = torch.empty((len(facts["order"]), 3, height, width), dtype=torch.uint8)
    for t, name in enumerate(facts["order"]):
        frame = np.frombuffer(answer.frames[name], dtype=np.uint8).reshape(height, width, 3)
        pixels[t] = torch.from_numpy(frame.copy()).permute(2, 0, 1)
    times = torch.tensor(facts["times"], dtype=torch.float64)
    return VideoFrames(pixels=pixels, times=times, info=VideoInfo(**facts["info"]))
