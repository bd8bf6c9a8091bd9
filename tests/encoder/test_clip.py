"""The CLIP backbone against transformers' own CLIPModel, and its preprocessing against Pillow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from encoder.backbones.base import ShapeError
from encoder.backbones.clip import MEAN, STD, CLIPBackbone

EXACT = {"rtol": 0.0, "atol": 1e-6}
IDS = torch.tensor([[48, 5, 6, 49, 0, 0], [48, 7, 49, 3, 1, 0], [48, 1, 2, 3, 4, 49]])  # 49 ends a text


@pytest.fixture(params=["quick_gelu", "gelu"])
def pair(
    request: pytest.FixtureRequest, clip_config: dict[str, Any], randomise: Callable
) -> tuple[CLIPBackbone, CLIPModel]:
    """Ours and theirs with the same random weights."""
    for tower in ("vision_config", "text_config"):
        clip_config[tower]["hidden_act"] = request.param
    theirs = randomise(CLIPModel(CLIPConfig(**clip_config)))
    ours = CLIPBackbone(clip_config).eval()
    renamed = {
        k.replace("vision_model.", "vision.").replace("text_model.", "text."): t for k, t in theirs.state_dict().items()
    }
    del renamed["logit_scale"]
    ours.load_state_dict(renamed)
    return ours, theirs


@torch.no_grad()
def test_frame_features_are_clips_image_features(pair: tuple[CLIPBackbone, CLIPModel]) -> None:
    ours, theirs = pair
    torch.manual_seed(0)
    images = torch.randn(3, 3, 32, 32)
    expected = theirs.get_image_features(images, output_hidden_states=True)
    states = ours.frame_states(images, 2)
    torch.testing.assert_close(states, torch.stack(expected.hidden_states[-2:]), **EXACT)
    tokens, frames = ours.finish(states[-1], states)
    torch.testing.assert_close(frames, expected.pooler_output, **EXACT)
    torch.testing.assert_close(tokens, expected.last_hidden_state[:, 1:], **EXACT)


@torch.no_grad()
def test_sentence_is_clips_text_feature_wherever_the_end_token_stands(pair: tuple[CLIPBackbone, CLIPModel]) -> None:
    ours, theirs = pair
    text = ours.encode_text(IDS, IDS != 0)
    expected = theirs.get_text_features(IDS)
    torch.testing.assert_close(text.sentence, expected.pooler_output, **EXACT)
    torch.testing.assert_close(text.tokens, theirs.text_projection(expected.last_hidden_state), **EXACT)
    assert torch.equal(text.mask, IDS != 0)


@torch.no_grad()
def test_text_tower_is_causal_and_gets_no_padding_mask(pair: tuple[CLIPBackbone, CLIPModel]) -> None:
    ours, _ = pair
    text = ours.encode_text(IDS, IDS != 0)
    assert torch.equal(text.tokens, ours.encode_text(IDS, torch.ones_like(IDS)).tokens)
    later = ours.encode_text(torch.where(torch.arange(6) > 3, 9, IDS), IDS != 0)
    torch.testing.assert_close(later.tokens[:, :4], text.tokens[:, :4], **EXACT)
    assert (later.tokens[:, 4:] - text.tokens[:, 4:]).abs().amax(-1).min() > 1e-3


@torch.no_grad()
def test_branch_shares_class_and_position_embeddings_with_the_tower(pair: tuple[CLIPBackbone, CLIPModel]) -> None:
    ours, _ = pair
    class_embedding, positions = ours.branch_positions()
    assert class_embedding is ours.vision.embeddings.class_embedding
    assert positions is ours.vision.embeddings.position_embedding.weight


def test_without_text_config_there_is_no_text_tower(clip_config: dict[str, Any]) -> None:
    del clip_config["text_config"]
    backbone = CLIPBackbone(clip_config)
    assert not any("text" in name for name in backbone.state_dict())
    with pytest.raises(ValueError, match="no text tower.*text_config"):
        backbone.encode_text(IDS, IDS != 0)


def test_wrong_inputs_are_named(clip_config: dict[str, Any]) -> None:
    backbone = CLIPBackbone(clip_config)
    with pytest.raises(ShapeError, match=r"\(N, 3, 32, 32\), got \(1, 3, 40, 32\)"):
        backbone.frame_states(torch.zeros(1, 3, 40, 32), 2)
    with pytest.raises(ValueError, match="4 layers, got 5"):
        backbone.frame_states(torch.zeros(1, 3, 32, 32), 5)
    with pytest.raises(ShapeError, match=r"\(3, 6\) and \(3, 5\)"):
        backbone.encode_text(IDS, (IDS != 0)[:, 1:])
    with pytest.raises(KeyError, match="projection_dim"):
        CLIPBackbone({"vision_config": clip_config["vision_config"]})


def test_transform_resizes_the_short_side_and_keeps_the_middle(clip_config: dict[str, Any], frame: Tensor) -> None:
    """Pillow's bicubic is what CLIP was trained with; it rounds to whole levels twice, hence three levels of slack."""
    clip_config["vision_config"]["image_size"] = 64
    got = CLIPBackbone(clip_config).transform(frame)
    picture = Image.fromarray(frame[0].permute(1, 2, 0).numpy())
    assert picture.width > picture.height
    width = round(picture.width * 64 / picture.height)
    resized = np.array(picture.resize((width, 64), Image.Resampling.BICUBIC))
    left = (width - 64) // 2
    levels = torch.from_numpy(resized[:, left : left + 64]).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert got.shape == (1, 3, 64, 64)
    assert ((got[0] * std + mean) * 255 - levels).abs().max() < 3
    torch.testing.assert_close(255 * torch.tensor(MEAN), torch.tensor([122.771, 116.746, 104.093]), rtol=0, atol=2e-3)
    torch.testing.assert_close(255 * torch.tensor(STD), torch.tensor([68.500, 66.632, 70.323]), rtol=0, atol=2e-3)
