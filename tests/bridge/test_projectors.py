"""Pooling and projection of the encoder's features."""

import pytest
import torch

from bridge.projectors import PROJECTORS, Projector, SpatioTemporalPooling
from encoder.model import VideoFeatures

B, T, L, D, E, LLM = 2, 3, 16, 8, 6, 10


def features(tokens: torch.Tensor) -> VideoFeatures:
    frames = torch.randn(tokens.shape[0], tokens.shape[1], E)
    return VideoFeatures(tokens=tokens, frames=frames, video=frames.mean(1))


@pytest.mark.parametrize("net", sorted(PROJECTORS))
@pytest.mark.parametrize("grid", [1, 2, 4])
def test_the_number_of_tokens_is_known_before(net: str, grid: int) -> None:
    projector = Projector(net=net, grid=grid, width=D, embed_dim=E, llm_dim=LLM)
    assert projector(features(torch.randn(B, T, L, D))).shape == (B, projector.num_tokens(T), LLM)
    assert projector.num_tokens(T) == T + grid**2


@pytest.mark.parametrize("net", sorted(PROJECTORS))
def test_every_parameter_gets_a_gradient(net: str) -> None:
    projector = Projector(net=net, grid=2, width=D, embed_dim=E, llm_dim=LLM)
    projector(features(torch.randn(B, T, L, D))).square().sum().backward()
    assert not [name for name, p in projector.named_parameters() if p.grad is None or not p.grad.any()]


def test_frame_tokens_see_one_frame_and_space_tokens_one_block() -> None:
    pooling, tokens = SpatioTemporalPooling(2), torch.randn(1, T, L, D)
    changed = tokens.clone()
    changed[0, 1, 0] += 5.0  # frame 1, the patch in the upper left corner
    whole = features(tokens)
    other = VideoFeatures(tokens=changed, frames=whole.frames, video=whole.video)
    moved = (pooling(whole) - pooling(other)).abs().sum(-1)[0] > 1e-6
    assert moved.tolist() == [False, True, False, True, False, False, False]  # three frames, four blocks


def test_pooling_averages() -> None:
    pooled = SpatioTemporalPooling(2)(features(torch.ones(1, T, L, D) * torch.arange(T).view(1, T, 1, 1)))
    assert torch.allclose(pooled[0, :T, 0], torch.arange(3.0))
    assert torch.allclose(pooled[0, T:, 0], torch.ones(4))


def test_tokens_lie_at_the_loudness_of_the_words() -> None:
    words = torch.randn(50, LLM) * 0.3 + 2.0
    projector = Projector(net="linear", grid=2, width=D, embed_dim=E, llm_dim=LLM)
    projector.place_among(words)
    distance = (projector(features(torch.randn(B, T, L, D) * 100)) - words.mean(0)).norm(dim=-1)
    assert torch.allclose(distance, (words - words.mean(0)).norm(dim=-1).mean().expand_as(distance), rtol=1e-4)


def test_an_unknown_net_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="linear, mlp2x_gelu"):
        Projector(net="resampler", grid=2, width=D, embed_dim=E, llm_dim=LLM)
