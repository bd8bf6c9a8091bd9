"""The towers of the presets in toy size: CLIP as transformers itself saves it, and mini."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from encoder.backbones.hub import HUB_IDS
from encoder.presets import CLIP_CONFIGS, ENCODERS
from tests.bridge.conftest import tiny_encoder

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
LONGEST = 77


def tiny_tokenizer() -> CLIPTokenizer:
    """A word piece for each letter; start and end have the largest ids, as in CLIP's own."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=LONGEST)


def tiny_clip_config() -> dict[str, Any]:
    words = len(tiny_tokenizer())
    ends = {"vocab_size": words, "bos_token_id": words - 2, "eos_token_id": words - 1}
    return {
        "projection_dim": 24,
        "vision_config": {**TOWER, "image_size": 32, "patch_size": 8},
        "text_config": {**TOWER, **ends, "max_position_embeddings": LONGEST},
    }


def save_tiny_clip(folder: Path) -> Path:
    """What a hub would hold of a CLIP."""
    tiny_tokenizer().save_pretrained(folder)
    torch.manual_seed(5)
    CLIPModel(CLIPConfig(**tiny_clip_config())).save_pretrained(folder)
    return folder


def use_tiny_towers(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    """Make every preset tiny; `clip` is what save_tiny_clip wrote."""
    for name in HUB_IDS:
        monkeypatch.setitem(HUB_IDS, name, str(clip))
        monkeypatch.setitem(CLIP_CONFIGS, name, tiny_clip_config())
    monkeypatch.setitem(ENCODERS, "mini", lambda: tiny_encoder(vocabulary=30522, longest=64))
