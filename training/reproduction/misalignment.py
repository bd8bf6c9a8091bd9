"""Claim (d), misaligned pairs: what the Mug loss saves when half of a clip or of a caption belongs to something else."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from training.data.contrasts import Medium, misaligned
from training.evaluation.retrieval_metrics import ranks
from training.reproduction.material import Material
from training.reproduction.table import Scores
from training.reproduction.variants import Trained


def misaligned_pairs(material: Material) -> tuple[Tensor, list[str], list[str]]:
    """Clips of all held-out pictures and a caption of each, one of the two with a stranger in it, and their names."""
    pictures = material.pictures()
    rng = random.Random("misaligned pairs")
    clips, captions = [], []
    for number, medium in enumerate(pictures):
        other = pictures[(number + rng.randrange(1, len(pictures))) % len(pictures)]
        clip, caption = misaligned(medium, other, material.cache.num_frames, rng)
        clips.append(clip)
        captions.append(caption)
    return torch.stack(clips, dim=1), captions, [medium.name for medium in pictures]


def clean_pairs(pictures: Sequence[Medium]) -> list[str]:
    """The first caption of every picture."""
    return [medium.captions[0] for medium in pictures]


def pair_scores(
    encoders: Sequence[Trained], states: Tensor, captions: list[str], names: list[str], mode: str | None
) -> Scores:
    """R@1 of clips for captions, one for one; `mode` None takes each encoder's own similarity."""
    seeds = []
    for trained in encoders:
        similarity = trained.similarity(
            trained.read(captions), trained.watch(states), mode or trained.variant.similarity
        )
        rank = ranks(similarity.numpy(), [[i] for i in range(len(captions))])
        seeds.append((rank <= 1).astype(float).tolist())
    return Scores(seeds, names)
