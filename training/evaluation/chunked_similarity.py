"""Similarities of many texts and many videos, a piece at a time.

Mug compares every word with every frame. All pairs of 10,000 texts of 32 words and 10,000 videos of 12 frames would be
38 thousand million numbers: 154 GB.

Axes: A texts, W words, B videos, T frames, E joint space.
"""

from collections.abc import Callable
from math import isqrt

import torch
from torch import Tensor

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures

MAX_ELEMENTS = 2**23
"""Numbers in the largest tensor that one piece makes: 32 MB in fp32, of which Mug holds half a dozen at once."""

Compare = Callable[[TextFeatures, VideoFeatures, str], Tensor]
"""(A texts, B videos, mode) -> (A, B): MugSTAN.similarity."""


def similarity(
    compare: Compare,
    text: TextFeatures,
    video: VideoFeatures,
    mode: str,
    *,
    max_elements: int = MAX_ELEMENTS,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int], object] = lambda pairs: None,
) -> Tensor:
    """`compare` of all texts and videos, fp32 (A, B) on the CPU, without a tensor of more than `max_elements` on the way.

    Equal to the whole in one piece but for rounding, which depends on the shape of a matrix product. Features may lie on
    the CPU: only a piece of them is on `device` at a time. `video.tokens` are not looked at. `on_progress` is told
    the number of pairs that each piece adds. Raises ValueError where not even one pair fits.
    """
    num_texts, num_videos = len(text.mask), len(video.frames)
    texts, videos = chunk_sizes(text, video, mode, max_elements)
    out = torch.empty(num_texts, num_videos)
    for top in range(0, num_texts, texts):
        rows = slice(top, top + texts)
        some_texts = TextFeatures(
            tokens=text.tokens[rows].to(device),
            sentence=text.sentence[rows].to(device),
            mask=text.mask[rows].to(device),
        )
        for left in range(0, num_videos, videos):
            columns = slice(left, left + videos)
            frames, whole = video.frames[columns].to(device), video.video[columns].to(device)
            some_videos = VideoFeatures(tokens=frames.new_empty(len(frames), 0), frames=frames, video=whole)
            piece = compare(some_texts, some_videos, mode)
            out[rows, columns] = piece.float().cpu()
            on_progress(piece.numel())
    return out


def chunk_sizes(text: TextFeatures, video: VideoFeatures, mode: str, max_elements: int) -> tuple[int, int]:
    """How many texts and videos to compare at once. Raises ValueError where there are none, or one pair is too large.

    Counted are what a pair takes (words x frames, in the full form of Mug an aggregated feature too, one number in plain)
    and the features of the piece themselves. Pieces are about square: that repeats the least work.
    """
    if not len(text.mask) or not len(video.frames):
        raise ValueError(f"expected at least one text and one video, got {len(text.mask)} and {len(video.frames)}.")
    (_, words, embed_dim), frames = text.tokens.shape, video.frames.shape[1]
    pair = {"plain": 1, "mug_simple": words * frames}.get(mode, max(words * frames, embed_dim))
    pairs = max_elements // pair
    most_texts, most_videos = max_elements // (words * embed_dim), max_elements // (frames * embed_dim)
    if not min(pairs, most_texts, most_videos):
        raise ValueError(
            f"expected room for {max(pair, words * embed_dim, frames * embed_dim)} numbers, which one text of {words} words "
            f"and one video of {frames} frames take in mode '{mode}', got max_elements {max_elements}."
        )
    videos = min(len(video.frames), most_videos, max(isqrt(pairs), pairs // len(text.mask)))
    return min(len(text.mask), most_texts, pairs // videos), videos
