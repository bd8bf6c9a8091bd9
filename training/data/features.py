"""The feature cache: what the frozen tower says about a medium, computed once and kept in one safetensors file each.

A file is named by the content of the medium, the frames taken from it and the tower, so a changed byte is a miss.
"""

import copy
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.model import MugSTAN
from encoder.video import VideoError, read_frames
from training.data.jsonl import Sample

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Tower states of media under `folder`. `tower` names the tower and its weights; `num_frames` a video's frames."""

    folder: Path
    tower: str
    num_frames: int

    def path(self, sample: Sample) -> Path:
        """Where the states of a sample lie, present or not."""
        digest = hashlib.sha256(sample.media.read_bytes())
        frames = self.num_frames if sample.is_video else 1
        digest.update(f"|{self.tower}|{frames}|{sample.start}|{sample.end}".encode())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    @staticmethod
    def load(path: Path) -> Tensor:
        """(d, T, 1 + L, D) fp16."""
        return load_file(path)["states"]

    @staticmethod
    def save(path: Path, states: Tensor) -> None:
        """Write under a temporary name and rename, so a killed run leaves no half file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"states": states.to(torch.float16).contiguous()}, partial)
        partial.replace(path)


def cache_features(
    samples: list[Sample],
    cache: FeatureCache,
    encoder: MugSTAN,
    *,
    dtype: torch.dtype = torch.float32,
    batch_frames: int = 32,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[int, Path]:
    """Fill the cache; sample index -> file, without the media that could not be read (logged, one line each).

    The tower computes in `dtype`, whatever its parameters have.
    """
    paths = dict(enumerate(cache.path(s) for s in samples))
    missing = [i for i, p in paths.items() if not p.exists()]
    on_progress(len(samples) - len(missing))
    tower = copy.deepcopy(encoder.backbone).to(dtype) if missing else encoder.backbone
    batch: list[tuple[int, Tensor]] = []

    def flush() -> None:
        if not batch:
            return
        with torch.inference_mode():
            frames = torch.cat([f for _, f in batch]).to(dtype)
            states = tower.frame_states(frames, encoder.branch.depth)  # (d, sum of T, 1 + L, D)
        for (index, _), part in zip(batch, states.split([len(f) for _, f in batch], dim=1), strict=True):
            cache.save(paths[index], part)
        on_progress(len(batch))
        batch.clear()

    for index, frames in _read_ahead(samples, missing, cache.num_frames, encoder):
        if frames is None:
            del paths[index]
            on_progress(1)
            continue
        batch.append((index, frames))
        if sum(len(f) for _, f in batch) >= batch_frames:
            flush()
    flush()
    return paths


def _read_ahead(
    samples: list[Sample], indices: list[int], num_frames: int, encoder: MugSTAN
) -> Iterator[tuple[int, Tensor | None]]:
    """(index, normalised frames (T, 3, H, W) or None where unreadable), decoded while the tower computes."""
    transform = encoder.backbone.transform

    def read(index: int) -> tuple[int, Tensor | None]:
        sample = samples[index]
        try:
            return index, transform(read_frames(sample.media, num_frames, start=sample.start, end=sample.end).pixels)
        except VideoError as error:
            log.warning("%s left out: %s", sample.media, error)
            return index, None

    with ThreadPoolExecutor(max_workers=2) as pool:
        for first in range(0, len(indices), 64):
            yield from pool.map(read, indices[first : first + 64])
