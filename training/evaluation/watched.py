"""What the model saw: a row for every way a video was shown in videos.jsonl, and its frames as one picture in frames/."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from training.engine.files import write_text
from training.evaluation.controls import Showing

HEIGHT = 96
"""Of a frame in the picture, in pixels."""


def strip_name(showing: Showing) -> str:
    """Name of the picture of what is shown; the same for the same frames in the same order."""
    seen = f"{showing.video}|{showing.start}|{showing.end}|{showing.frames}"
    return hashlib.sha256(seen.encode()).hexdigest()[:16] + ".jpg"


class WatchLog:
    """Writes what was shown of each video, once for each way; half a row, where the run was killed, is left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "videos.jsonl"
        self.rows = read_watched(self._path)
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows.values()))

    def add(self, showing: Showing, path: Path, pixels: Tensor, times: Tensor) -> None:
        """Note the file and the times (T,) of the frames uint8 (T, 3, H, W) in the order shown, and draw them."""
        name = strip_name(showing)
        if name in self.rows:
            return
        (self.folder / "frames").mkdir(exist_ok=True)
        draw_strip(pixels, self.folder / "frames" / name)
        row = asdict(showing) | {"sha256": file_hash(path), "stat": file_stat(path), "picture": f"frames/{name}"}
        del row["branch"]
        self.rows[name] = row | {"times": [round(t, 4) for t in times.tolist()]}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[name]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def forget_changed(self, root: Path) -> set[str]:
        """Names of videos that are other files now than when they were shown; what was noted of them is dropped."""
        changed = {row["video"] for row in self.rows.values() if _is_another(root / row["video"], row)}
        self.rows = {name: row for name, row in self.rows.items() if row["video"] not in changed}
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows.values()))
        return changed


def read_watched(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a videos.jsonl by the name of their picture."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return {Path(row["picture"]).name: row for row in rows}


def draw_strip(pixels: Tensor, path: Path) -> None:
    """Frames uint8 (T, 3, H, W) side by side as a JPEG."""
    small = interpolate(pixels.float(), size=(HEIGHT, max(1, round(HEIGHT * pixels.shape[3] / pixels.shape[2]))))
    strip = rearrange(small.clamp(0, 255).byte(), "t c h w -> h (t w) c").contiguous()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    Image.fromarray(strip.numpy()).save(partial, format="JPEG", quality=75)
    partial.replace(path)


def file_stat(path: Path) -> list[int]:
    """Size in bytes and time of the last change in nanoseconds: equal where a file was not touched."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.name.encode() if path.is_dir() else b"")
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _is_another(path: Path, row: dict[str, Any]) -> bool:
    if not path.exists():
        return True
    return file_stat(path) != row["stat"] and file_hash(path) != row["sha256"]
