"""Claim (b), motion: which way does the camera move over a held-out picture?"""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from training.data.camera import MOVES, moved
from training.data.contrasts import filmed_states
from training.reproduction.material import Material
from training.reproduction.table import Scores
from training.reproduction.variants import Trained


def camera_scores(encoders: Sequence[Trained], material: Material) -> Scores:
    """Whether the words of the right one of four moves are the most similar ones; the wordings' features are averaged."""
    pictures = material.filmed()
    states = torch.stack([filmed_states(medium, move) for medium in pictures for move in MOVES], dim=1)
    target = torch.arange(len(MOVES)).repeat(len(pictures))
    seeds = []
    for trained in encoders:
        said = [trained.read([moved(move, wording, "") for move in MOVES]).sentence for wording in range(3)]
        words = normalize(torch.stack([normalize(sentence, dim=-1) for sentence in said]).mean(0), dim=-1)
        similarity = words @ normalize(trained.watch(states).video, dim=-1).T
        seeds.append((similarity.argmax(0) == target).float().tolist())
    return Scores(seeds, [medium.name for medium in pictures for _ in MOVES])
