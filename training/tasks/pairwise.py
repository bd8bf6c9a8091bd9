"""All similarities of a batch in the memory of a few, and which of its texts and videos are no negatives.

Axes: A texts, W words, B videos, T frames, E joint space, N pairs of a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures
from training.evaluation.chunked_similarity import MAX_ELEMENTS, Compare, chunk_sizes


def similarities(
    compare: Compare, text: TextFeatures, video: VideoFeatures, mode: str, *, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """`compare` of all texts and videos (A, B), with gradients.

    Mug compares every word with every frame, A*B*W*T numbers. Here no tensor of more than `max_elements` is made on
    the way, nor kept for the backward: that computes each piece again.
    """

    def piece(tokens: Tensor, sentence: Tensor, mask: Tensor, frames: Tensor, whole: Tensor) -> Tensor:
        video = VideoFeatures(tokens=frames.new_empty(len(frames), 0), frames=frames, video=whole)
        return compare(TextFeatures(tokens=tokens, sentence=sentence, mask=mask), video, mode)

    texts, videos = chunk_sizes(text, video, mode, max_elements)
    rows = []
    for some in zip(text.tokens.split(texts), text.sentence.split(texts), text.mask.split(texts), strict=True):
        row = [
            checkpoint(piece, *some, *others, use_reentrant=False, preserve_rng_state=False)
            for others in zip(video.frames.split(videos), video.video.split(videos), strict=True)
        ]
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def no_negatives(input_ids: Tensor, clips: Sequence[int]) -> Tensor:
    """(N, N) bool: where a pair's text is no negative of another pair's video, though it is not its own.

    So it is where both pairs have the same text, as the tower reads it (N, W), or the same clip: the text is right for
    that video, too. Captions of stock videos and names of actions come often, and a clip has up to twenty captions.
    """
    _, said = torch.unique(input_ids, dim=0, return_inverse=True)
    shown = torch.tensor(clips, device=input_ids.device)
    equal = (said[:, None] == said) | (shown[:, None] == shown)
    return equal.fill_diagonal_(False)
