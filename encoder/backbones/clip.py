"""CLIP of any size (Radford et al. 2021): transformers' towers under projections of our own; the text tower is optional.

Axes as in base.py. Sizes come from the dict of a transformers CLIPConfig: `projection_dim`, `vision_config` and, where
there is a text tower, `text_config`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from encoder.backbones.base import Backbone, ShapeError, TextFeatures, check_frames
from encoder.video.transform import Transform

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPBackbone(Backbone):
    """Square frames, the middle crop; joint space of `projection_dim`. Weights are random until they are loaded."""

    trained_parts = ("vision", "visual_projection", "text", "text_projection")

    def __init__(self, clip_config: Mapping[str, Any]) -> None:
        super().__init__()
        if missing := {"projection_dim", "vision_config"} - set(clip_config):
            raise KeyError(f"clip_config lacks {sorted(missing)}; it has {sorted(clip_config)}.")
        vision = CLIPVisionConfig(**clip_config["vision_config"])
        self.width, self.heads = vision.hidden_size, vision.num_attention_heads
        self.mlp_width, self.num_layers = vision.intermediate_size, vision.num_hidden_layers
        self.activation, self.layer_norm_eps = vision.hidden_act, vision.layer_norm_eps
        self.embed_dim = clip_config["projection_dim"]
        self.transform = Transform(size=vision.image_size, mean=MEAN, std=STD, mode="crop")
        self.vision = CLIPVisionModel(vision)
        self.visual_projection = nn.Linear(self.width, self.embed_dim, bias=False)
        self.text, self.text_projection = None, None
        if clip_config.get("text_config") is not None:
            text = CLIPTextConfig(**clip_config["text_config"])
            self.text = CLIPTextModel(text)
            self.text_projection = nn.Linear(text.hidden_size, self.embed_dim, bias=False)

    def frame_states(self, frames: Tensor, depth: int) -> Tensor:
        frames = check_frames(frames, self.transform.size)
        if not 1 <= depth <= self.num_layers:
            raise ValueError(f"depth must be from 1 to the tower's {self.num_layers} layers, got {depth}.")
        return torch.stack(self.vision(frames, output_hidden_states=True).hidden_states[-depth:])

    def branch_positions(self) -> tuple[Tensor, Tensor]:
        embeddings = self.vision.embeddings
        return embeddings.class_embedding, embeddings.position_embedding.weight

    def finish(self, fused: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens are the patches as they are; a frame feature is the projection of the normed CLS."""
        return fused[..., 1:, :], self.visual_projection(self.vision.post_layernorm(fused[..., 0, :]))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Every position projected; the sentence is the one of the largest id, CLIP's end token.

        The tower is causal and gets no padding mask, as published: `attention_mask` only says which words are real.
        """
        if self.text is None or self.text_projection is None:
            raise ValueError(
                "this CLIP encoder has no text tower, so it cannot encode text. "
                "Build or import it with a `text_config` in clip_config."
            )
        if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape:
            raise ShapeError(
                f"expected input_ids and attention_mask (A, W), got {tuple(input_ids.shape)} "
                f"and {tuple(attention_mask.shape)}."
            )
        tokens = self.text_projection(self.text(input_ids=input_ids).last_hidden_state)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return TextFeatures(tokens=tokens, sentence=tokens[rows, input_ids.argmax(-1)], mask=attention_mask.bool())

    def branch_layer_weights(self, index: int) -> dict[str, Tensor]:
        return self.vision.encoder.layers[index].state_dict()
