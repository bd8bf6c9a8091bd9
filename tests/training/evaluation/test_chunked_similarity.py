"""Pieces give what the whole gives, and no tensor of a piece is larger than allowed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures
from encoder.mug import MODES, mug_similarity, plain_similarity
from training.evaluation.chunked_similarity import MAX_ELEMENTS, chunk_sizes, similarity


def compare(text: TextFeatures, video: VideoFeatures, mode: str) -> Tensor:
    if mode == "plain":
        return plain_similarity(text.sentence, video.video)
    return mug_similarity(text.tokens, text.mask, video.frames, simple=mode == "mug_simple")


def features(
    texts: int, videos: int, *, words: int = 7, frames: int = 5, embed_dim: int = 64
) -> tuple[TextFeatures, VideoFeatures]:
    """Random features; texts are of different lengths, frames of one video are alike."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(texts, words, embed_dim, generator=generator)
    lengths = torch.randint(1, words + 1, (texts, 1), generator=generator)
    scenes = torch.randn(videos, 1, embed_dim, generator=generator)
    seen = scenes + 0.3 * torch.randn(videos, frames, embed_dim, generator=generator)
    text = TextFeatures(tokens=tokens, sentence=tokens.mean(1), mask=torch.arange(words) < lengths)
    return text, VideoFeatures(tokens=torch.empty(videos, 0), frames=seen, video=seen.mean(1))


class Largest(TorchDispatchMode):
    """Notes the numbers in the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:  # noqa: ANN401
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize("max_elements", [500, 5000, MAX_ELEMENTS])
@pytest.mark.parametrize("mode", MODES)
def test_pieces_give_what_the_whole_gives(mode: str, max_elements: int) -> None:
    text, video = features(31, 23)
    told: list[int] = []
    found = similarity(compare, text, video, mode, max_elements=max_elements, on_progress=told.append)
    torch.testing.assert_close(found, compare(text, video, mode), rtol=0, atol=1e-6)
    assert sum(told) == 31 * 23
    assert (len(told) == 1) == (max_elements == MAX_ELEMENTS), "as many pieces as were meant"


@pytest.mark.parametrize("embed_dim", [4, 64])
@pytest.mark.parametrize("mode", MODES)
def test_no_tensor_is_larger_than_allowed(mode: str, embed_dim: int) -> None:
    """Words x frames is the largest in a small joint space, the aggregated features of full Mug in a large one."""
    text, video = features(90, 70, embed_dim=embed_dim)
    limit = 8000
    with Largest() as whole:
        compare(text, video, mode)
    with Largest() as pieces:
        similarity(compare, text, video, mode, max_elements=limit)
    assert pieces.numbers <= limit
    if mode != "plain":
        assert whole.numbers >= 90 * 70 * 35 > 25 * limit, "the whole would have been too large"


@pytest.mark.parametrize(
    ("texts", "videos"), [(10_000, 10_000), (1, 10_000), (10_000, 1), (200_000, 10), (3, 7), (1, 1)]
)
@pytest.mark.parametrize("mode", MODES)
def test_pieces_of_large_sets_stay_under_the_bound(mode: str, texts: int, videos: int) -> None:
    """Features of ten thousand texts of 32 words and videos of 12 frames, without the memory: one number, repeated."""
    one = torch.zeros(1)
    text = TextFeatures(
        tokens=one.expand(texts, 32, 512), sentence=one.expand(texts, 512), mask=one.bool().expand(texts, 32)
    )
    video = VideoFeatures(tokens=one, frames=one.expand(videos, 12, 512), video=one.expand(videos, 512))
    some_texts, some_videos = chunk_sizes(text, video, mode, MAX_ELEMENTS)
    pair = {"plain": 1, "mug_simple": 32 * 12, "mug": 512}[mode]
    assert some_texts * some_videos * pair <= MAX_ELEMENTS
    assert some_texts * 32 * 512 <= MAX_ELEMENTS
    assert some_videos * 12 * 512 <= MAX_ELEMENTS
    assert 1 <= some_texts <= texts
    assert 1 <= some_videos <= videos
    pieces = -(-texts // some_texts) * -(-videos // some_videos)
    needed = max(texts * videos * pair, texts * 32 * 512, videos * 12 * 512, MAX_ELEMENTS) / MAX_ELEMENTS
    assert pieces < 4 * needed or mode == "plain", "they are not tiny either"


def test_nothing_to_compare_and_a_pair_too_large_are_refused() -> None:
    text, video = features(2, 2)
    with pytest.raises(ValueError, match="one text of 7 words and one video of 5 frames take in mode 'mug'"):
        similarity(compare, text, video, "mug", max_elements=30)
    none = VideoFeatures(tokens=video.tokens[:0], frames=video.frames[:0], video=video.video[:0])
    with pytest.raises(ValueError, match="at least one text and one video, got 2 and 0"):
        similarity(compare, text, none, "mug")


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_a_gpu_gives_what_the_cpu_gives(mode: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    text, video = features(31, 23)
    found = similarity(compare, text, video, mode, max_elements=1000, device="cuda")
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, compare(text, video, mode), rtol=0, atol=1e-4)
