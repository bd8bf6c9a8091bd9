"""An encoder of toy size, and retrieval and recognition with it."""

import torch
from transformers import BertConfig, Dinov2Config

from encoder.backbones.mini import MiniBackbone
from encoder.model import MugSTAN
from encoder.presets import fresh_branch


def tiny_encoder() -> MugSTAN:
    """The mini encoder in toy size, with all the words of its tokenizer; its branch counts for something."""
    torch.manual_seed(2)
    backbone = MiniBackbone(
        vision_config=Dinov2Config(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
        ),
        text_config=BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
        ),
        image_size=56, embed_dim=24, head_hidden=32,
    )  # fmt: skip
    encoder = MugSTAN(backbone, fresh_branch(backbone, depth=2, scaled=True, max_frames=8)).eval()
    torch.nn.init.constant_(encoder.branch.output_fusion.scale, 0.5)
    for head in (backbone.vision_head, backbone.text_head):
        torch.nn.init.normal_(head.fc2.weight)  # features far apart: no rank hangs on rounding
    return encoder.requires_grad_(False)
