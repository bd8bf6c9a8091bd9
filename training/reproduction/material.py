"""What is trained and measured on: files under one data folder, and cached tower states of those that nothing trains on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from encoder.model import MugSTAN
from training.data.contrasts import Medium
from training.data.features import FeatureCache, cache_features
from training.data.filmed import film_pictures
from training.data.jsonl import DataError, Sample, read_samples

TRAIN = ("flickr8k/captions.jsonl", "coco/annotations.jsonl", "imagenet_samples/annotations.jsonl", "clips/web.jsonl")
PICTURES = "flickr8k/captions.jsonl"
"""Its test split is held out."""
FILMED = 200
"""Held-out pictures that a camera moves over."""
DEV_RETRIEVAL = "dev_clips/retrieval.jsonl"
DEV_ORDER = "dev_clips/order_2afc.jsonl"
LABELS = "clips/labels.jsonl"
LABELLED_SETS = ("fight", "exercise_typing")


def training_files(root: Path) -> list[Path]:
    """What encoders are trained on."""
    return [root / name for name in TRAIN]


@dataclass(frozen=True)
class Material:
    """Held-out media under `root`, with their states in `cache`, computed where they are missing by `tower`."""

    root: Path
    cache: FeatureCache
    tower: MugSTAN

    def pictures(self) -> list[Medium]:
        """All pictures of the test split."""
        return self.media([s for s in read_samples(self.root / PICTURES) if s.split == "test"])

    def filmed(self) -> list[Medium]:
        """The first FILMED pictures of the test split, under camera moves."""
        samples = [s for s in read_samples(self.root / PICTURES) if s.split == "test"][:FILMED]
        pictures = [(s, medium.file) for s, medium in zip(samples, self.media(samples), strict=True)]
        moves = film_pictures(pictures, self.cache, self.tower)
        return [
            Medium(file, s.captions, is_video=False, name=str(s.media), filmed=move)
            for (s, file), move in zip(pictures, moves, strict=True)
        ]

    def clips(self, samples: Sequence[Sample]) -> Tensor:
        """Tower states (d, B, T, 1 + L, D) of videos."""
        return torch.stack([FeatureCache.load(medium.file) for medium in self.media(samples)], dim=1)

    def media(self, samples: Sequence[Sample]) -> list[Medium]:
        """Media with their states. Raises DataError where one cannot be read: figures would not be of what they say."""
        files = cache_features(list(samples), self.cache, self.tower)
        if len(files) < len(samples):
            raise DataError(f"expected {len(samples)} readable media under {self.root}, got {len(files)} (see above).")
        return [Medium(files[i], s.captions, s.is_video, name=str(s.media)) for i, s in enumerate(samples)]
