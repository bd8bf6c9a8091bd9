"""Features of videos in the folder of a run, so that one that was stopped goes on. T frames, E joint space.

A file is named by the content of the video and by what computed the features: a changed byte is a miss.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from training.evaluation.watched import file_hash


@dataclass(frozen=True)
class FeatureStore:
    """Features under `folder`; `made_by` names the weights, the number of frames and the precision."""

    folder: Path
    made_by: str

    def get(self, video: Path, end: float | None, compute: Callable[[], Tensor]) -> Tensor:
        """Features (T, E) of a video up to `end` seconds: what is kept, else what `compute` gives, kept as it is.

        Passes on what `compute` raises, which is kept nowhere. A video that is not there is for `compute` to tell.
        """
        if not video.is_file():
            return compute()
        key = f"{file_hash(video)}|{end}|{self.made_by}"
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        if path.exists():
            return load_file(path)["frames"]
        frames = compute()
        self.folder.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"frames": frames.contiguous()}, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # the name must not outlive a power cut that the numbers do not
        partial.replace(path)
        return frames
