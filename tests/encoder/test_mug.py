"""Mug against its formulas, and what must not move it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from encoder.backbones.base import ShapeError
from encoder.mug import mug_similarity, plain_similarity

A, W, B, T, E = 3, 5, 2, 4, 16
BOTH = pytest.mark.parametrize("simple", [False, True])


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Words (A, W, E), mask (A, W) with texts of 5, 3 and 1 words, frames (B, T, E)."""
    torch.manual_seed(0)
    mask = torch.arange(W) < torch.tensor([5, 3, 1])[:, None]
    return torch.randn(A, W, E), mask, torch.randn(B, T, E)


def by_the_formula(words: Tensor, frames: Tensor, *, simple: bool, tau: float = 100.0) -> Tensor:
    """One text without padding (W, E) and one video (T, E) in float64, step by step as the paper has it."""
    w, f = F.normalize(words.double(), dim=-1), F.normalize(frames.double(), dim=-1)
    s = w @ f.T  # (W, T)
    alpha, beta = (tau * s).softmax(1), (tau * s).softmax(0)
    p = ((alpha @ f) * w).sum(1)  # text-guided frame against its word
    q = ((beta.T @ w) * f).sum(1)  # video-guided word against its frame
    torch.testing.assert_close(p, (alpha * s).sum(1))  # both forms share p and q
    torch.testing.assert_close(q, (beta * s).sum(0))
    gamma, delta = (tau * p).softmax(0), (tau * q).softmax(0)
    if simple:
        return (gamma @ p + delta @ q) / 2
    return (gamma @ w) @ (delta @ f)


@BOTH
def test_every_pair_follows_the_formula(data: tuple[Tensor, Tensor, Tensor], simple: bool) -> None:
    words, mask, frames = data
    got = mug_similarity(words, mask, frames, simple=simple)
    expected = [[by_the_formula(words[a, mask[a]], frames[b], simple=simple) for b in range(B)] for a in range(A)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-5)


@BOTH
def test_one_word_and_one_frame_give_the_cosine(simple: bool) -> None:
    torch.manual_seed(0)
    words, frames = torch.randn(A, 1, E), torch.randn(B, 1, E)
    got = mug_similarity(words, torch.ones(A, 1, dtype=torch.bool), frames, simple=simple)
    torch.testing.assert_close(got, F.cosine_similarity(words, frames[:, 0][None], dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(got, plain_similarity(words[:, 0], frames[:, 0]), rtol=0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("junk", [1.0, 1e4, float("inf"), float("nan")])
def test_a_masked_word_changes_nothing(data: tuple[Tensor, Tensor, Tensor], simple: bool, junk: float) -> None:
    """Not the value, not a gradient; whatever stands there."""
    words, mask, frames = data
    results = []
    for fill in (0.0, junk):
        w = words.masked_fill(~mask[..., None], fill).requires_grad_()
        f = frames.clone().requires_grad_()
        similarity = mug_similarity(w, mask, f, simple=simple)
        (similarity * torch.arange(1.0, 1 + A * B).view(A, B)).sum().backward()
        results.append((similarity.detach(), w.grad, f.grad))
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)
    words_grad = results[1][1]
    assert words_grad[~mask].abs().max() == 0
    assert (words_grad[mask].abs().sum(-1) > 0).any()


@BOTH
def test_a_text_without_words_is_similar_to_nothing(data: tuple[Tensor, Tensor, Tensor], simple: bool) -> None:
    words, mask, frames = data
    words, frames = words.requires_grad_(), frames.requires_grad_()
    similarity = mug_similarity(words, mask & (torch.arange(A) != 1)[:, None], frames, simple=simple)
    assert similarity[1].abs().max() == 0
    similarity.sum().backward()
    assert words.grad.isfinite().all()
    assert frames.grad.isfinite().all()


@BOTH
def test_bf16_features_are_compared_in_fp32(data: tuple[Tensor, Tensor, Tensor], simple: bool) -> None:
    words, mask, frames = data
    words, frames = words.bfloat16(), frames.bfloat16()
    expected = mug_similarity(words.float(), mask, frames.float(), simple=simple)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mug_similarity(words, mask, frames, simple=simple)
        cosine = plain_similarity(words[:, 0], frames[:, 0])
    assert got.dtype == cosine.dtype == torch.float32
    assert torch.equal(got, expected)
    assert torch.equal(cosine, plain_similarity(words[:, 0].float(), frames[:, 0].float()))


@BOTH
def test_order_of_frames_and_length_of_features_do_not_matter(
    data: tuple[Tensor, Tensor, Tensor], simple: bool
) -> None:
    words, mask, frames = data
    expected = mug_similarity(words, mask, frames, simple=simple)
    got = mug_similarity(3 * words, mask, 0.1 * frames.flip(1), simple=simple)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_wrong_shapes_are_named(data: tuple[Tensor, Tensor, Tensor]) -> None:
    words, mask, frames = data
    with pytest.raises(ShapeError, match=r"\(3, 1\)"):
        mug_similarity(words, mask[:, :1], frames, simple=True)  # would broadcast in silence
    with pytest.raises(ShapeError, match=r"\(2, 4, 15\)"):
        mug_similarity(words, mask, frames[..., 1:], simple=True)
