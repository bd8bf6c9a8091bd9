"""Layers that are computed again in the backward: the same gradients, from less memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from encoder.model import MugSTAN
from encoder.presets import clip_encoder
from training.dry_run import activation_bytes


def tiny(clip_config: dict[str, Any], *, recompute: bool) -> MugSTAN:
    torch.manual_seed(0)
    encoder = clip_encoder(clip_config, depth=3)
    for module in encoder.branch.cross_frame:  # a fresh one is the identity
        nn.init.normal_(module.temporal_fc.weight, std=0.1)
    if recompute:
        encoder.recompute_layers()
    return encoder


def loss(encoder: MugSTAN) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(2, 4, 3, 32, 32, generator=generator)
    torch.manual_seed(2)  # of the paths that are dropped
    ids = torch.tensor([[48, 5, 49], [48, 7, 49]])
    text = encoder.encode_text(ids, torch.ones_like(ids))
    features = encoder.encode_video(video)
    return encoder.similarity(text, features, "mug_simple").sum() + features.frames.square().mean()


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_are_the_same_with_dropped_paths_too(clip_config: dict[str, Any], autocast: bool) -> None:
    found = []
    for recompute in (False, True):
        encoder = tiny(clip_config, recompute=recompute).train()
        assert encoder.branch.cross_frame[-1].drop_path.rate > 0
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss(encoder)
        value.backward()
        gradients = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
        found.append({"loss": value.detach(), **gradients})
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) > 150
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_less_is_kept_in_training_and_evaluation_is_as_it_was(clip_config: dict[str, Any]) -> None:
    plain, recomputing = (tiny(clip_config, recompute=recompute) for recompute in (False, True))
    kept = [activation_bytes(lambda encoder=encoder: loss(encoder.train())) for encoder in (plain, recomputing)]
    assert kept[1] < kept[0] / 3
    with torch.no_grad():
        assert torch.equal(loss(plain.eval()), loss(recomputing.eval()))
