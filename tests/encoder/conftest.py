"""Tiny random models and the published reference data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from encoder.checkpoints import import_published
from encoder.model import MugSTAN

GOLDEN = Path(__file__).parents[1] / "golden"
FRAME = Path(__file__).parent / "data" / "telescope_frame.jpg"  # NASA, public domain


class Golden(NamedTuple):
    """Weights, inputs and outputs of the published code."""

    kind: str
    config: dict[str, Any]
    io: dict[str, Tensor]
    weights: dict[str, Tensor]

    @property
    def depth(self) -> int:
        return self.config["depth" if self.kind == "btadapter" else "stan_depth"]

    def imported(self, weights: dict[str, Any] | None = None, **changes: Any) -> MugSTAN:  # noqa: ANN401
        options = {
            "kind": self.kind,
            "clip_config": self.config["clip_config"],
            "depth": self.depth,
            "gates": self.config.get("gates"),
        }
        return import_published(self.weights if weights is None else weights, **{**options, **changes})


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Golden data by folder name."""

    def load(name: str) -> Golden:
        folder = GOLDEN / name
        config = json.loads((folder / "config.json").read_text())
        io, weights = (load_file(folder / f"{part}.safetensors") for part in ("io", "official_state_dict"))
        return Golden(name.split("_")[0], config, io, weights)

    return load


@pytest.fixture
def clip_config() -> dict[str, Any]:
    """A CLIP of 4 layers: 16 patches of width 32, joint space of 24."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    return {
        "projection_dim": 24,
        "vision_config": {**tower, "image_size": 32, "patch_size": 8},
        "text_config": {**tower, "vocab_size": 50, "max_position_embeddings": 12, "eos_token_id": 49},
    }


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Fill a module with weights as a trained one might have: nothing zero, nothing equal."""

    def fill(module: nn.Module, *, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                is_norm = "norm" in name and name.endswith("weight")
                parameter.copy_(1 + 0.1 * noise if is_norm else 0.2 * noise)
        return module.eval()

    return fill


@pytest.fixture(scope="session")
def frame() -> Tensor:
    """A real frame, uint8 (1, 3, H, W)."""
    return torch.from_numpy(np.array(Image.open(FRAME).convert("RGB"))).permute(2, 0, 1)[None]
