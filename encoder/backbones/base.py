"""The protocol between an image-language model and the STAN branch.

Axes: N frames, B videos, T frames of one video, L patches, D width, E joint space, A texts, W words, d branch depth.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoder.video.transform import Transform


class ShapeError(ValueError):
    """A tensor came in a layout that the receiving module does not take."""


@dataclass(frozen=True)
class TextFeatures:
    """tokens (A, W, E) of every word, sentence (A, E), mask (A, W) bool, True on real words. Unnormalised."""

    tokens: Tensor
    sentence: Tensor
    mask: Tensor


class Backbone(nn.Module, ABC):
    """An image tower that shows its last layers, and a text tower where there is one."""

    width: int
    heads: int
    mlp_width: int
    activation: str
    layer_norm_eps: float
    num_layers: int
    embed_dim: int
    transform: Transform
    trained_parts: tuple[str, ...]
    """Child modules whose weights a checkpoint holds; the others come from the preset."""
    later_parts: tuple[str, ...] = ()
    """Those of them that older checkpoints lack. A fresh one changes nothing."""

    @abstractmethod
    def frame_states(self, frames: Tensor, depth: int) -> Tensor:
        """(N, 3, H, W) -> (d, N, 1 + L, D): outputs of the last `depth` layers, CLS first."""

    @abstractmethod
    def branch_positions(self) -> tuple[Tensor, Tensor]:
        """Class embedding (D,) and position embedding (1 + L, D) that the branch shares with the tower."""

    @abstractmethod
    def finish(self, fused: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Fused last states (..., 1 + L, D) -> tokens (..., L, D) for an LLM and frame features (..., E).

        `states` (d, ..., 1 + L, D) are the tower's own, for frame features that read more than its last layer.
        """

    @abstractmethod
    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """(A, W) ids and mask -> TextFeatures. Raises ValueError where there is no text tower."""

    @abstractmethod
    def branch_layer_weights(self, index: int) -> dict[str, Tensor]:
        """Weights of tower layer `index` under the names of an intra-frame module: what a fresh branch starts from."""

    def recompute_layers(self) -> None:
        """In training, keep only what goes into each layer of the towers, and compute it again in the backward."""
        from transformers import PreTrainedModel

        for tower in self.children():
            if isinstance(tower, PreTrainedModel):
                tower.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def check_frames(frames: Tensor, size: int) -> Tensor:
    """One door for frame batches: float (N, 3, size, size)."""
    if frames.ndim != 4 or frames.shape[1:] != torch.Size([3, size, size]):
        raise ShapeError(f"expected frames (N, 3, {size}, {size}), got {tuple(frames.shape)}.")
    return frames
