"""Masked training of the branch: what is masked is masked in every frame, and only there."""

import pytest
import torch
from torch import Tensor

from encoder.model import MugSTAN, tube_mask
from encoder.presets import clip_encoder


@pytest.fixture
def encoder(clip_config: dict) -> MugSTAN:
    torch.manual_seed(0)
    encoder = clip_encoder(clip_config, depth=2)
    for module in encoder.branch.cross_frame:  # a fresh one is the identity
        torch.nn.init.normal_(module.temporal_fc.weight, std=0.1)
    return encoder


@pytest.fixture
def states(encoder: MugSTAN) -> Tensor:
    return encoder.video_states(torch.randn(2, 3, 3, *[encoder.backbone.transform.size] * 2)).detach()


@torch.no_grad()
def test_a_masked_patch_is_seen_in_no_frame(encoder: MugSTAN, states: Tensor) -> None:
    kept = tube_mask(16, 0.7, torch.Generator().manual_seed(1))
    masked = [patch for patch in range(16) if patch not in kept]
    expected = encoder.encode_states(states, patches=kept).frames
    changed = states.clone()
    changed[..., [1 + patch for patch in masked], :] += torch.randn(2, 2, 3, len(masked), 32)
    assert torch.equal(encoder.encode_states(changed, patches=kept).frames, expected)
    for frame in range(3):
        changed = states.clone()
        changed[:, :, frame, 1 + kept[0]] += 1.0
        assert not torch.equal(encoder.encode_states(changed, patches=kept).frames, expected)


@torch.no_grad()
def test_a_kept_patch_keeps_its_place(encoder: MugSTAN, states: Tensor) -> None:
    everything = encoder.encode_states(states)
    same = encoder.encode_states(states, patches=torch.arange(16))
    torch.testing.assert_close(same.frames, everything.frames)
    torch.testing.assert_close(same.tokens, everything.tokens)
    alone = encoder.encode_states(states, branch=False, patches=torch.tensor([2, 7]))
    assert torch.equal(alone.tokens, encoder.encode_states(states, branch=False).tokens), "the tower has seen them all"


@torch.no_grad()
def test_patches_that_the_branch_does_not_see_get_the_mean_of_what_it_adds(encoder: MugSTAN, states: Tensor) -> None:
    kept = torch.tensor([2, 7, 11])
    tower, masked = (encoder.encode_states(states, branch=b, patches=kept).tokens for b in (False, True))
    added = masked - tower
    others = [patch for patch in range(16) if patch not in kept]
    mean = added[:, :, kept].mean(2, keepdim=True)
    assert mean.norm() > 0.1
    torch.testing.assert_close(added[:, :, others], mean.expand(-1, -1, len(others), -1), rtol=1e-4, atol=1e-4)


def test_the_share_is_that_of_the_paper() -> None:
    kept = tube_mask(256, 0.7, torch.Generator().manual_seed(0))
    assert len(kept) == 77
    assert torch.equal(kept, kept.unique())
    assert torch.equal(kept, tube_mask(256, 0.7, torch.Generator().manual_seed(0)))
    assert not torch.equal(kept, tube_mask(256, 0.7, torch.Generator().manual_seed(1)))
    assert torch.equal(tube_mask(9, 0.0, torch.Generator()), torch.arange(9))
    with pytest.raises(ValueError, match=r"at least 0 and below 1, got 1\.0"):
        tube_mask(16, 1.0, torch.Generator())
