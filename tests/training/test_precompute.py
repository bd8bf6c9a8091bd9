"""What frozen towers say is computed once, for exactly what is asked."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoder.model import MugSTAN
from tests.bridge.conftest import tiny_encoder
from training.data.contrasts import Medium
from training.data.features import FeatureCache
from training.precompute import caption_states, frame_features
from training.tasks.heads import WordStates

CAPTIONS = ["A dog runs.", "Two men and a boat on a lake.", "Snow."]


@pytest.fixture
def encoder() -> MugSTAN:
    return tiny_encoder()


@pytest.fixture
def words(encoder: MugSTAN) -> WordStates:
    return WordStates(encoder, tokenize)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(folder=tmp_path, tower="toy", num_frames=4)


def tokenize(captions: list[str], **options: object) -> dict[str, Tensor]:
    """An id for every word."""
    ids = [[1 + len(word) for word in caption.split()] for caption in captions]
    longest = max(len(row) for row in ids)
    return {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
    }


def media(folder: Path, frames: list[int]) -> list[Medium]:
    found = []
    for i, count in enumerate(frames):
        file = folder / f"{i}.safetensors"
        FeatureCache.save(file, torch.randn(2, count, 5, 32, generator=torch.Generator().manual_seed(i)))
        found.append(Medium(file, (CAPTIONS[i],), is_video=count > 1))
    return found


def test_frames_are_those_of_the_media_in_their_order(tmp_path: Path, encoder: MugSTAN, cache: FeatureCache) -> None:
    chosen = media(tmp_path, [1, 4, 1])
    for wanted in (chosen, chosen[1:], chosen[::-1], chosen):  # what is kept of one list is not taken for another
        found = frame_features(encoder, wanted, cache)
        for medium, rows in zip(wanted, found, strict=True):
            normed = encoder.backbone.vision.layernorm(FeatureCache.load(medium.file).float())
            first, last = (torch.cat([layer[:, 0], layer[:, 1:].mean(1)], dim=-1) for layer in normed)
            expected = torch.cat([first, last], dim=-1)
            torch.testing.assert_close(rows.float(), expected, atol=2e-3, rtol=1e-3)


def test_known_captions_give_the_features_of_unknown_ones(words: WordStates, cache: FeatureCache) -> None:
    new = words(CAPTIONS)
    words.known = caption_states(words, CAPTIONS, cache)
    known = words(CAPTIONS)
    assert torch.equal(new.mask, known.mask)
    torch.testing.assert_close(known.sentence, new.sentence, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(known.tokens[known.mask], new.tokens[new.mask], atol=2e-3, rtol=1e-3)
    mixed = words(["Nobody said so before.", *CAPTIONS])
    torch.testing.assert_close(mixed.sentence[1:], new.sentence, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(mixed.sentence[:1], words(["Nobody said so before."]).sentence)


def test_nothing_known_is_computed_again(words: WordStates, cache: FeatureCache) -> None:
    words.known = caption_states(words, CAPTIONS, cache)
    read, tokenize = [], words.tokenize
    words.tokenize = lambda captions, **options: read.extend(captions) or tokenize(captions, **options)
    words([*CAPTIONS, "Another.", "Another."])
    assert read == ["Another."]


def test_captions_are_computed_once_and_do_not_depend_on_their_order(words: WordStates, cache: FeatureCache) -> None:
    first = caption_states(words, CAPTIONS, cache)
    silent = WordStates(words.encoder, tokenize=None)
    again = caption_states(silent, CAPTIONS[::-1] * 2, cache)
    assert first.keys() == again.keys() == set(CAPTIONS)
    assert all(torch.equal(first[caption], again[caption]) for caption in CAPTIONS)
    with pytest.raises(TypeError):
        caption_states(silent, [*CAPTIONS, "Another."], cache)


def test_words_are_counted_as_the_tower_reads_them(words: WordStates, cache: FeatureCache) -> None:
    assert words.count(CAPTIONS) == sum(len(states) for states in caption_states(words, CAPTIONS, cache).values()) == 12
