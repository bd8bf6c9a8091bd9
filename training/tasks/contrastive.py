"""Symmetric contrastive loss and retrieval metrics on a similarity matrix."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(logits: Tensor) -> Tensor:
    """Mean of both directions' cross-entropy; row i of (N, N) belongs to column i. An untrained one is log N."""
    target = torch.arange(logits.shape[0], device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def recall_at_1(similarity: Tensor) -> float:
    """Share of rows whose own column is the best; a tie counts for half of the better ones, as a middle rank."""
    own = similarity.diagonal()[:, None]
    rank = 1 + (similarity > own).sum(1) + 0.5 * ((similarity == own).sum(1) - 1)
    return (rank <= 1).float().mean().item()
