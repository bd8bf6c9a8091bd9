"""An encoder of toy size, and retrieval and recognition with it."""

import torch

from encoder.model import MugSTAN
from tests.bridge import conftest


def tiny_encoder() -> MugSTAN:
    """The mini encoder in toy size, with all the words of its tokenizer."""
    encoder = conftest.tiny_encoder(vocabulary=30522, longest=64)
    for head in (encoder.backbone.vision_head, encoder.backbone.text_head):
        torch.nn.init.normal_(head.fc2.weight)  # features far apart: no rank hangs on rounding
    return encoder.requires_grad_(False)
