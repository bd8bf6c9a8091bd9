"""`probe`: the facts of a file, found out in a worker process."""

from __future__ import annotations

import os
from contextlib import closing

from encoder.video.info import VideoInfo
from encoder.video.relay import Relay


def probe(path: str | os.PathLike[str], *, timeout: float = 15.0) -> VideoInfo:
    """Measure a video or picture without returning its pixels.

    Raises VideoError with a message for the user when the file cannot be shown.
    """
    with closing(Relay(requests_each=1)) as relay:
        answer = relay.answer({"path": os.fsdecode(path), "num_frames": 0}, timeout=timeout)
    return VideoInfo(**answer.facts["info"])
