"""What the frozen towers say of single frames and of captions: computed once, and shared by all runs on the same data.

Files lie beside the cached features, under the hash of what they were computed from.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from encoder.model import MugSTAN
from training.data.contrasts import Medium
from training.data.features import FeatureCache
from training.engine.distributed import on_first
from training.tasks.heads import WordStates

AT_ONCE = 256
"""Captions in a forward of the text tower."""


def frame_features(encoder: MugSTAN, media: list[Medium], cache: FeatureCache) -> list[Tensor]:
    """What the vision head reads of every medium's frames, (T, head_levels*2D) fp16 each."""
    return _load(on_first(lambda: _frames_file(encoder, media, cache)))


def caption_states(words: WordStates, captions: Iterable[str], cache: FeatureCache) -> dict[str, Tensor]:
    """The text tower's states of every caption's words, (W, D) fp16 each."""
    wanted = sorted(set(captions))
    return dict(zip(wanted, _load(on_first(lambda: _captions_file(words, wanted, cache))), strict=True))


@torch.inference_mode()
def _frames_file(encoder: MugSTAN, media: list[Medium], cache: FeatureCache) -> Path:
    path = _path(cache, f"frames-{encoder.backbone.head_levels}", [medium.file.name for medium in media])
    if not path.exists():
        found = []
        for medium in tqdm(media, desc="frames", unit="medium", dynamic_ncols=True):
            states = FeatureCache.load(medium.file)[-encoder.backbone.head_levels :]
            found.append(encoder.backbone.moments(states.float()))
        _save(path, found)
    return path


def _captions_file(words: WordStates, captions: list[str], cache: FeatureCache) -> Path:
    path = _path(cache, "captions", captions)
    if not path.exists():
        by_length = sorted(range(len(captions)), key=lambda i: len(captions[i]))  # little padding
        found: dict[int, Tensor] = {}
        with tqdm(total=len(captions), desc="captions", unit="caption", dynamic_ncols=True) as bar:
            for first in range(0, len(captions), AT_ONCE):
                some = by_length[first : first + AT_ONCE]
                states = words.states([captions[i] for i in some])
                found |= {i: of_words.half() for i, of_words in zip(some, states, strict=True)}
                bar.update(len(some))
        _save(path, [found[i] for i in range(len(captions))])
    return path


def _path(cache: FeatureCache, kind: str, content: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([cache.tower, *content]).encode()).hexdigest()
    return cache.folder / "precomputed" / f"{kind}-{digest[:16]}.safetensors"


def _save(path: Path, rows: list[Tensor]) -> None:
    lengths = torch.tensor([len(part) for part in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")  # two runs may start at once
    save_file({"rows": torch.cat(rows).half(), "lengths": lengths}, partial)
    partial.replace(path)


def _load(path: Path) -> list[Tensor]:
    content = load_file(path)
    return list(content["rows"].split(content["lengths"].tolist()))
