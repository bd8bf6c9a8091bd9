"""What the model saw: a row for every watched video in videos.jsonl, and its frames as one picture in frames/."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from encoder.video import VideoFrames
from training.evaluation.controls import Showing

HEIGHT = 96
"""Of a frame in the picture, in pixels."""


def strip_name(showing: Showing) -> str:
    """Name of the picture of what is shown; the same for the same video and part of it."""
    return hashlib.sha256(f"{showing.video}|{showing.start}|{showing.end}".encode()).hexdigest()[:16] + ".jpg"


@dataclass(frozen=True)
class WatchLog:
    """Writes what was shown of each video, once per video and part."""

    folder: Path

    def add(self, showing: Showing, path: Path, frames: VideoFrames) -> None:
        """Note the file's hash, the times of the frames, and draw them."""
        row = {
            "video": showing.video, "start": showing.start, "end": showing.end, "sha256": file_hash(path),
            "times": [round(t, 4) for t in frames.times.tolist()], "frames": f"frames/{strip_name(showing)}",
        }  # fmt: skip
        (self.folder / "frames").mkdir(exist_ok=True)
        draw_strip(frames.pixels, self.folder / row["frames"])
        with (self.folder / "videos.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_watched(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of videos.jsonl by the name of their picture; half a row at the end is left out."""
    path = folder / "videos.jsonl"
    lines: Sequence[str] = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else ()
    rows = [json.loads(line) for line in lines]
    return {Path(row["frames"]).name: row for row in rows}


def draw_strip(pixels: Tensor, path: Path) -> None:
    """Frames uint8 (T, 3, H, W) side by side as a JPEG."""
    small = interpolate(pixels.float(), size=(HEIGHT, max(1, round(HEIGHT * pixels.shape[3] / pixels.shape[2]))))
    strip = rearrange(small.clamp(0, 255).byte(), "t c h w -> h (t w) c").contiguous()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    Image.fromarray(strip.numpy()).save(partial, format="JPEG", quality=75)
    partial.replace(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.name.encode() if path.is_dir() else b"")
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
