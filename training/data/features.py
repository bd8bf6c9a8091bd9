"""The feature cache: what the frozen tower says about a medium, computed once and kept in one safetensors file each.

A file is named by the content of the medium, the frames taken from it, the tower and what it computed in, so a changed
byte is a miss.
"""

import copy
import hashlib
import logging
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoder.model import MugSTAN
from encoder.video import FrameReader, VideoError
from training.data.jsonl import Sample

log = logging.getLogger(__name__)

_READERS = 2
"""Threads that read, each with a worker process of its own."""


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Tower states of media under `folder`.

    `tower` names the tower and its weights, `num_frames` the frames of a video, `dtype` what the tower computes in,
    whatever its parameters have. The names of files leave out the usual dtype, bfloat16.
    """

    folder: Path
    tower: str
    num_frames: int
    dtype: torch.dtype = torch.bfloat16

    def path(self, sample: Sample) -> Path:
        """Where the states of a sample lie, present or not."""
        with sample.media.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        dtype = "" if self.dtype == torch.bfloat16 else f"-{str(self.dtype).removeprefix('torch.')}"
        digest.update(f"|{self.tower}{dtype}|{self.frames(sample)}|{sample.start}|{sample.end}".encode())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def frames(self, sample: Sample) -> int:
        """How many frames are asked of a sample's medium."""
        return self.num_frames if sample.is_video else 1

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
    batch_frames: int = 8,
    on_progress: Callable[[int], None] = lambda done: None,
    on_unreadable: Callable[[Sample, str], None] = lambda sample, reason: None,
) -> dict[int, Path]:
    """Fill the cache; sample index -> file, without the media that could not be read.

    Those are logged, one line each, and `on_unreadable` gets every sample that is left out, and the reason. Samples of
    the same medium share a file, which is computed once.
    """
    rows = _rows_by_file(samples, cache)
    missing = {path: samples[indices[0]] for path, indices in rows.items() if not path.exists()}
    on_progress(len(samples) - sum(len(rows[path]) for path in missing))
    tower = copy.deepcopy(encoder.backbone).to(cache.dtype) if missing else encoder.backbone
    batch: list[tuple[Path, Tensor]] = []

    def flush() -> None:
        if not batch:
            return
        with torch.inference_mode():
            frames = torch.cat([f for _, f in batch]).to(cache.dtype)
            states = tower.frame_states(frames, encoder.branch.depth)  # (d, sum of T, 1 + L, D)
        for (path, _), part in zip(batch, states.split([len(f) for _, f in batch], dim=1), strict=True):
            cache.save(path, part)
            on_progress(len(rows[path]))
        batch.clear()

    with closing(_read_ahead(missing, cache, encoder)) as media:  # its workers end with it
        for path, frames in media:
            if isinstance(frames, VideoError):
                log.warning("%s left out: %s", missing[path].media, frames)
                left_out = rows.pop(path)
                for index in left_out:
                    on_unreadable(samples[index], str(frames))
                on_progress(len(left_out))
                continue
            batch.append((path, frames))
            if sum(len(f) for _, f in batch) >= batch_frames:
                flush()
    flush()
    return {index: path for path, indices in rows.items() for index in indices}


def _rows_by_file(samples: list[Sample], cache: FeatureCache) -> dict[Path, list[int]]:
    """Where states lie or will lie -> indices of the samples that they belong to. Each medium is hashed once."""
    known: dict[tuple, Path] = {}
    rows: dict[Path, list[int]] = {}
    for index, sample in enumerate(samples):
        key = (sample.media, sample.is_video, sample.start, sample.end)
        if key not in known:
            known[key] = cache.path(sample)
        rows.setdefault(known[key], []).append(index)
    return rows


def _read_ahead(
    missing: dict[Path, Sample], cache: FeatureCache, encoder: MugSTAN
) -> Generator[tuple[Path, Tensor | VideoError], None, None]:
    """(file, normalised frames (T, 3, H, W) or why there are none), decoded while the tower computes.

    Closing it ends the worker processes.
    """
    transform = encoder.backbone.transform
    idle: SimpleQueue[FrameReader] = SimpleQueue()

    def read(entry: tuple[Path, Sample]) -> tuple[Path, Tensor | VideoError]:
        path, sample = entry
        reader = idle.get()
        try:
            frames = reader.read(sample.media, cache.frames(sample), start=sample.start, end=sample.end)
            return path, transform(frames.pixels)
        except VideoError as error:
            return path, error
        finally:
            idle.put(reader)

    entries = list(missing.items())
    with ExitStack() as readers, ThreadPoolExecutor(_READERS) as pool:
        for _ in range(_READERS):
            idle.put(readers.enter_context(FrameReader()))
        for first in range(0, len(entries), 64):
            yield from pool.map(read, entries[first : first + 64])
