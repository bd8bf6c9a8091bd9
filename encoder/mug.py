"""Mug, the mutual-guided alignment of frames and words (Mug-STAN, arXiv 2311.15075).

Every word picks the frames it is about, every frame the words it shows; both are aggregated with softmax weights.
Everything here runs in fp32, under autocast too: temperatures of 100 leave bf16 no digits.

Axes: A texts, W words, B videos, T frames, E joint space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from encoder.backbones.base import ShapeError

MODES = ("mug", "mug_simple", "plain")


def plain_similarity(sentence: Tensor, video: Tensor) -> Tensor:
    """Cosine of (A, E) sentences and (B, E) videos -> (A, B)."""
    with torch.autocast(sentence.device.type, enabled=False):
        return F.normalize(sentence.float(), dim=-1) @ F.normalize(video.float(), dim=-1).T


def mug_similarity(words: Tensor, mask: Tensor, frames: Tensor, *, simple: bool, temperature: float = 100.0) -> Tensor:
    """Token-wise similarity of words (A, W, E), mask (A, W) bool, and frames (B, T, E) -> (A, B).

    The full form compares the two aggregated features, the simple one averages the two aggregated scores. `temperature`
    multiplies the similarities inside the softmaxes. Masked words take part in nothing; a text without any word gets 0.
    """
    if words.ndim != 3 or mask.shape != words.shape[:2] or frames.ndim != 3 or frames.shape[2] != words.shape[2]:
        raise ShapeError(
            "expected words (A, W, E), mask (A, W) and frames (B, T, E), "
            f"got {tuple(words.shape)}, {tuple(mask.shape)} and {tuple(frames.shape)}."
        )
    with torch.autocast(words.device.type, enabled=False):
        return _mug(words.float(), mask.bool(), frames.float(), simple=simple, temperature=temperature)


def _mug(words: Tensor, mask: Tensor, frames: Tensor, *, simple: bool, temperature: float) -> Tensor:
    w = F.normalize(words.masked_fill(~mask[..., None], 0.0), dim=-1, eps=1e-6)
    f = F.normalize(frames, dim=-1, eps=1e-6)
    out = ~mask[:, None]  # (A, 1, W)
    never = torch.finfo(torch.float32).min  # weight exactly 0 beside any real word, and no nan where there is none
    s = torch.einsum("awe,bte->abwt", w, f)
    over_frames = torch.softmax(temperature * s, dim=3)
    over_words = torch.softmax((temperature * s).masked_fill(out[..., None], never), dim=2)
    p = (over_frames * s).sum(3)  # (A, B, W): each word against the frames it picks
    q = (over_words * s).sum(2)  # (A, B, T): each frame against the words it picks
    gamma = torch.softmax((temperature * p).masked_fill(out, never), dim=2)
    delta = torch.softmax(temperature * q, dim=2)
    if simple:
        return ((gamma * p).sum(2) + (delta * q).sum(2)) / 2
    text = torch.einsum("abw,awe->abe", gamma, w)
    video = torch.einsum("abt,bte->abe", delta, f)
    return (text * video).sum(-1)
