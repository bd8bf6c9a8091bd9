"""Claim (c), retrieval: the right picture or clip for a caption, and the right caption for it."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from training.data.contrasts import Medium, stacked
from training.data.jsonl import read_samples
from training.evaluation.retrieval_metrics import ranks
from training.reproduction.material import DEV_RETRIEVAL, Material
from training.reproduction.table import Scores
from training.reproduction.variants import Trained


def dev_clips(material: Material) -> tuple[list[Medium], Tensor]:
    """The development clips and their states."""
    media = material.media(read_samples(material.root / DEV_RETRIEVAL))
    return media, stacked(media, material.cache.num_frames)


def retrieval_scores(
    encoders: Sequence[Trained], media: Sequence[Medium], states: Tensor, mode: str | None
) -> dict[str, Scores]:
    """R@1 from text and to text; `mode` None takes each encoder's own similarity. Every caption of a medium is right."""
    captions = [caption for medium in media for caption in medium.captions]
    owner = np.repeat(np.arange(len(media)), [len(medium.captions) for medium in media])
    of_caption = [[int(i)] for i in owner]
    of_medium = [np.flatnonzero(owner == i).tolist() for i in range(len(media))]
    found: dict[str, list[list[float]]] = {"from text": [], "to text": []}
    for trained in encoders:
        text, video = trained.read(captions), trained.watch(states)
        similarity = trained.similarity(text, video, mode or trained.variant.similarity).numpy()
        found["from text"].append((ranks(similarity, of_caption) <= 1).astype(float).tolist())
        found["to text"].append((ranks(similarity.T, of_medium) <= 1).astype(float).tolist())
    clusters = {"from text": [media[i].name for i in owner], "to text": [medium.name for medium in media]}
    return {name: Scores(seeds, clusters[name]) for name, seeds in found.items()}
