"""MugSTAN: an image-language backbone with a STAN branch; videos and captions in, features out."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from encoder.backbones.base import Backbone, ShapeError, TextFeatures
from encoder.mug import MODES, mug_similarity, plain_similarity
from encoder.stan import STANBranch


@dataclass(frozen=True)
class VideoFeatures:
    """tokens (B, T, L, D) for the LLM, frames (B, T, E) for Mug, video (B, E) = mean of frames. Unnormalised."""

    tokens: Tensor
    frames: Tensor
    video: Tensor


def tube_mask(num_patches: int, rate: float, generator: torch.Generator) -> Tensor:
    """(K,) indices of the patches that stay when a share `rate` is masked in all frames alike, ascending.

    BT-Adapter, arXiv 2309.15785, asymmetric masking: K = L - floor(rate * L). Its published code lays the mask out
    frame by frame over tokens that stand patch by patch, so that no patch stays masked over time; here they do.
    Raises ValueError for a rate that is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"expected a share of masked patches of at least 0 and below 1, got {rate}.")
    kept = num_patches - int(rate * num_patches)
    return torch.randperm(num_patches, generator=generator)[:kept].sort().values


class MugSTAN(nn.Module):
    """The video encoder. Axes: B videos, T frames, L patches, D width, E joint space, A texts, W words."""

    def __init__(self, backbone: Backbone, branch: STANBranch) -> None:
        super().__init__()
        self.backbone = backbone
        self.branch = branch

    def video_states(self, video: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (d, B, T, 1 + L, D): the frozen part, worth caching in training."""
        if video.ndim != 5 or video.shape[1] < 1 or video.shape[2] != 3:
            raise ShapeError(f"a video batch is (B, T, 3, H, W) with at least one frame, got {tuple(video.shape)}.")
        states = self.backbone.frame_states(rearrange(video, "b t c h w -> (b t) c h w"), self.branch.depth)
        return rearrange(states, "d (b t) n w -> d b t n w", b=video.shape[0])

    def encode_states(self, states: Tensor, *, branch: bool = True, patches: Tensor | None = None) -> VideoFeatures:
        """Tower states (d, B, T, 1 + L, D) -> VideoFeatures; without the branch, every frame stands alone.

        `patches` (K,) are the indices of those that the branch sees, the same in every frame, None for all: masked
        training (see tube_mask). The tower has seen all patches in any case; to those that the branch does not see the
        mean of what it adds to the others is added.
        """
        return self.finish(self.fuse(states, patches) if branch else states[-1], states)

    def finish(self, fused: Tensor, states: Tensor) -> VideoFeatures:
        """What `fuse` made of tower states, and the states themselves -> VideoFeatures."""
        tokens, frames = self.backbone.finish(fused, states)
        return VideoFeatures(tokens=tokens, frames=frames, video=frames.mean(1))

    def fuse(self, states: Tensor, patches: Tensor | None = None) -> Tensor:
        """Tower states (d, B, T, 1 + L, D) -> the last layer's with what the branch adds, (B, T, 1 + L, D)."""
        class_embedding, positions = self.backbone.branch_positions()
        if patches is None:
            return self.branch(states, class_embedding, positions)
        seen = torch.cat([patches.new_zeros(1), 1 + patches])
        fused = self.branch(states[..., seen, :], class_embedding, positions[seen])
        added = fused - states[-1][..., seen, :]
        whole = states[-1] + added[..., 1:, :].mean(-2, keepdim=True)
        return whole.index_copy(-2, seen, fused.to(whole.dtype))

    def encode_video(self, video: Tensor, *, branch: bool = True) -> VideoFeatures:
        """Normalised frames (B, T, 3, H, W) -> VideoFeatures."""
        return self.encode_states(self.video_states(video), branch=branch)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """(A, W) ids and mask (1 on real words) -> TextFeatures."""
        return self.backbone.encode_text(input_ids, attention_mask)

    def recompute_layers(self) -> None:
        """Trade time for memory in training: gradients stay the same, every layer is computed twice."""
        self.backbone.recompute_layers()
        self.branch.recompute = True

    def similarity(self, text: TextFeatures, video: VideoFeatures, mode: str = "mug") -> Tensor:
        """(A, B) similarities: "mug", "mug_simple" (token-wise, see encoder.mug) or "plain" (cosine)."""
        if mode not in MODES:
            raise KeyError(f"unknown similarity '{mode}'. Known: {', '.join(MODES)}.")
        if mode == "plain":
            return plain_similarity(text.sentence, video.video)
        return mug_similarity(text.tokens, text.mask, video.frames, simple=mode == "mug_simple")
