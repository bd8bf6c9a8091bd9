"""`read_frames`: sampled pictures of a file, decoded in a worker process of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from encoder.video.frame_reader import FrameReader
from encoder.video.info import VideoFrames


def read_frames(
    path: str | os.PathLike[str],
    num_frames: int,
    *,
    start: float | None = None,
    end: float | None = None,
    places: Sequence[float] | None = None,
    short_side: int = 336,
    timeout: float = 15.0,
) -> VideoFrames:
    """Decode `num_frames` frames, the middle ones of equal segments of the file or of its span `start`..`end` (seconds).

    `places`, one for each frame, say where in its segment a frame lies instead: 0 is the start, 1 (excluded) the end.
    Frames are turned upright, given square pixels and scaled so that the shorter side is at most `short_side`, never
    enlarged. A clip with fewer frames repeats them; a still picture gives T = 1 whatever `num_frames`.
    Raises VideoError with a message for the user when the file cannot be shown within `timeout` seconds.
    """
    with FrameReader(requests_each=1) as reader:
        return reader.read(
            path, num_frames, start=start, end=end, places=places, short_side=short_side, timeout=timeout
        )
