"""From a clip to the frames that an encoder sees, in training and in validation. T frames, S the encoder's size."""

import random
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from encoder.video import FrameReader, VideoFrames
from encoder.video.transform import Transform, normalise, resize_squash
from training.data.crop import random_crop
from training.data.examples import Clip

SHORT_SIDE = 256
"""Of the frames that random parts are taken from, as in the published training."""
SECONDS = 60.0
"""For one clip. A machine that trains is busy, and what it cannot read in time would be missing from the batch."""


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """Reads the clips under `root` as `transform` wants them. Below `crop_area` of 1, training sees random parts."""

    root: Path
    transform: Transform
    num_frames: int
    crop_area: float = 1.0

    def for_training(self, reader: FrameReader, clip: Clip, rng: random.Random) -> Tensor:
        """(T, 3, S, S): a random frame of each of T equal segments, the same random part of each. Raises VideoError."""
        places = [rng.random() for _ in range(self.num_frames)]
        if self.crop_area == 1.0:
            return self._same_number(self.transform(self._read(reader, clip, places=places).pixels))
        pixels = self._read(reader, clip, places=places, short_side=SHORT_SIDE).pixels
        part = resize_squash(random_crop(pixels, self.crop_area, rng), self.transform.size)
        return self._same_number(normalise(part, self.transform.mean, self.transform.std))

    def for_measuring(self, reader: FrameReader, clip: Clip) -> Tensor:
        """(T, 3, S, S) as the evaluation sees a clip: the middle frame of each segment. Raises VideoError."""
        return self._same_number(self.transform(self._read(reader, clip).pixels))

    def _read(self, reader: FrameReader, clip: Clip, **options: object) -> VideoFrames:
        return reader.read(
            self.root / clip.video, self.num_frames, start=clip.start, end=clip.end, timeout=SECONDS, **options
        )

    def _same_number(self, frames: Tensor) -> Tensor:
        """A still picture is shown T times."""
        return frames.expand(self.num_frames, -1, -1, -1)
