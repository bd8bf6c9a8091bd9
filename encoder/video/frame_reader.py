"""`FrameReader`: sampled pictures of many files by one worker process. T frames, 3 colours, H rows, W columns."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from encoder.video.info import VideoFrames, VideoInfo
from encoder.video.process import Answer
from encoder.video.relay import Relay
from encoder.video.sampling import check_places

_REQUESTS_EACH = 100
"""A start costs as much as 30 small pictures, and at 100 requests even 10 MB left behind by each would do no harm.

No growth was seen in 2,000 pictures or 1,000 videos; the bound is for the decoders that were not tried."""


class FrameReader:
    """Reads one file after the other, at a fraction of the cost of `read_frames`, which starts a process for each.

    A worker answers at most `requests_each` requests. Used by one thread at a time; `close` it, or use it in a `with`
    block. Meant for collections: a file that takes over the decoder could forge what is read after it, so the uploads
    of strangers go to `read_frames`.
    """

    def __init__(self, *, requests_each: int = _REQUESTS_EACH) -> None:
        if requests_each < 1:
            raise ValueError(f"requests_each must be at least 1, got {requests_each}.")
        self._relay = Relay(requests_each=requests_each)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker process; reading is over."""
        self._relay.close()

    def read(
        self,
        path: str | os.PathLike[str],
        num_frames: int,
        *,
        start: float | None = None,
        end: float | None = None,
        places: Sequence[float] | None = None,
        short_side: int = 336,
        timeout: float = 15.0,
    ) -> VideoFrames:
        """What `read_frames` gives for the same arguments, and the same errors.

        Raises VideoError, after which the next file may be read.
        """
        if num_frames < 1 or short_side < 1:
            raise ValueError(f"num_frames and short_side must be at least 1, got {num_frames} and {short_side}.")
        if places is not None:
            check_places(places, num_frames)
        request = {
            "path": os.fsdecode(path),
            "num_frames": num_frames,
            "start": start,
            "end": end,
            "places": None if places is None else [float(place) for place in places],
            "short_side": short_side,
        }
        return _to_frames(self._relay.answer(request, timeout=timeout))


def _to_frames(answer: Answer) -> VideoFrames:
    import torch  # here, not above: the worker imports this package and must start without torch

    facts = answer.facts
    height, width = facts["size"]
    pixels = torch.empty((len(facts["order"]), 3, height, width), dtype=torch.uint8)
    for t, name in enumerate(facts["order"]):
        frame = np.frombuffer(answer.frames[name], dtype=np.uint8).reshape(height, width, 3)
        pixels[t] = torch.from_numpy(frame.copy()).permute(2, 0, 1)
    times = torch.tensor(facts["times"], dtype=torch.float64)
    return VideoFrames(pixels=pixels, times=times, info=VideoInfo(**facts["info"]))
