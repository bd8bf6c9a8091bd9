"""Tower states of pictures that a camera moves over, computed once and kept beside those of the pictures."""

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from encoder.model import MugSTAN
from encoder.video import FrameReader
from training.data.camera import FILMED, camera_path, film
from training.data.features import FeatureCache
from training.data.jsonl import Sample


def filmed_file(cache: FeatureCache, picture: Path, move: str) -> Path:
    """Where the states of a move over a picture lie; `picture` is the file of the picture's own states."""
    return cache.folder / "filmed" / f"{picture.stem}-{move}-{cache.num_frames}.safetensors"


def film_pictures(
    pictures: Sequence[tuple[Sample, Path]],
    cache: FeatureCache,
    encoder: MugSTAN,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Path]]:
    """Readable pictures with the files of their states -> for each the files of its moves, one for each of FILMED.

    How far and how fast a camera moves is drawn, and depends on the picture's content and the move alone.
    """
    if not pictures:
        return []
    tower = copy.deepcopy(encoder.backbone).to(cache.dtype)
    found = []
    with FrameReader() as reader:
        for sample, file in pictures:
            moves = {move: filmed_file(cache, file, move) for move in FILMED}
            if not all(path.exists() for path in moves.values()):
                pixels = reader.read(sample.media, 1).pixels[0]
                for move, path in moves.items():
                    windows = camera_path(move, cache.num_frames, random.Random(path.stem))
                    frames = tower.transform(film(pixels, windows, tower.transform.size))
                    with torch.inference_mode():
                        FeatureCache.save(path, tower.frame_states(frames.to(cache.dtype), encoder.branch.depth))
            found.append(moves)
            on_progress(1)
    return found
