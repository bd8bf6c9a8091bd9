"""Claim (a), time: is a clip of two scenes nearer to "first A, then B" or to "first B, then A"?"""

from collections.abc import Sequence

import torch

from training.data.benchmarks.ours import read_choices
from training.data.contrasts import stacked
from training.data.jsonl import Sample
from training.data.scenes import WORDINGS, joined, told
from training.reproduction.material import DEV_ORDER, Material
from training.reproduction.table import Scores
from training.reproduction.variants import Trained

WORDING = WORDINGS[0]


def joined_pictures(material: Material) -> tuple[torch.Tensor, list[str]]:
    """Clips of held-out pictures 2i and 2i + 1, both orders of a pair as neighbours, and the caption of each."""
    pictures = material.pictures()
    states, num_frames = stacked(pictures, 1), material.cache.num_frames
    clips, captions = [], []
    for i in range(0, len(pictures) - 1, 2):
        for a, b in ((i, i + 1), (i + 1, i)):
            clips.append(joined(states[:, a], states[:, b], num_frames // 2, num_frames))
            captions.append(told(pictures[a].captions[0], pictures[b].captions[0], WORDING))
    return torch.stack(clips, dim=1), captions


def joined_clips(material: Material) -> tuple[torch.Tensor, list[str]]:
    """The same of real clips, as the file has them."""
    path = material.root / DEV_ORDER
    items = read_choices(path)
    samples = [
        Sample(media=path.parent / item.video, is_video=True, captions=(), qa=(), split="test") for item in items
    ]
    captions = [told(item.candidates[item.answer], item.candidates[1 - item.answer], WORDING) for item in items]
    return material.clips(samples), captions


def order_scores(encoders: Sequence[Trained], states: torch.Tensor, captions: list[str]) -> Scores:
    """Whether the cosine with the right caption is the greater one, of clips and captions in neighbouring pairs."""
    seeds = []
    for trained in encoders:
        similarity = trained.similarity(trained.read(captions), trained.watch(states), "plain")
        right = similarity.diagonal()
        wrong = similarity[torch.arange(len(captions)) ^ 1, torch.arange(len(captions))]
        seeds.append((right > wrong).float().tolist())
    return Scores(seeds, [str(i // 2) for i in range(len(captions))])
