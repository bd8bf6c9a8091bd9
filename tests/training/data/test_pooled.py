"""Pooled tokens belong to a medium, wherever it stands in the data."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bridge.projectors import SpatioTemporalPooling
from encoder.model import VideoFeatures
from training.data.features import FeatureCache
from training.data.jsonl import Sample
from training.data.pooled import pool_media


class Encoder(nn.Module):
    """Features are the states; it counts what it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.branch = nn.Module(), nn.Linear(1, 1)
        self.backbone.trained_parts = ()
        self.encoded = 0

    def encode_states(self, states: Tensor) -> VideoFeatures:
        self.encoded += 1
        tokens = states[-1, :, :, 1:]
        return VideoFeatures(tokens=tokens, frames=tokens.mean(2), video=tokens.mean((1, 2)))


@pytest.fixture
def media(tmp_path: Path) -> list[tuple[Sample, Path]]:
    """A picture of ones, a video of twos, and a video row of threes that is a still."""
    found = []
    for value, (frames, is_video) in enumerate([(1, False), (4, True), (1, True)], start=1):
        file = tmp_path / "features" / f"{value}f.safetensors"
        FeatureCache.save(file, torch.full((2, frames, 5, 3), float(value)))
        media = tmp_path / f"{value}.mp4"
        found.append((Sample(media=media, is_video=is_video, captions=(f"{value}",), qa=(), split="train"), file))
    return found


def test_tokens_follow_their_medium_into_another_order(tmp_path: Path, media: list[tuple[Sample, Path]]) -> None:
    encoder, pooling = Encoder(), SpatioTemporalPooling(2)
    for chosen in (media, media[::-1], [media[1], *media]):
        for pooled, (sample, file) in zip(pool_media(chosen, encoder, pooling, tmp_path), chosen, strict=True):
            assert pooled.captions == sample.captions
            assert pooled.pooled[0, 0] == int(file.stem[0])
    assert encoder.encoded == 3, "the same media in another order, or twice, are not encoded again"


def test_other_media_are_encoded(tmp_path: Path, media: list[tuple[Sample, Path]]) -> None:
    encoder, pooling = Encoder(), SpatioTemporalPooling(2)
    for chosen in (media[:1], media[1:2]):
        (pooled,) = pool_media(chosen, encoder, pooling, tmp_path)
        assert pooled.pooled[0, 0] == int(chosen[0][1].stem[0])
    assert encoder.encoded == 2


def test_a_video_of_one_frame_counts_as_a_picture(tmp_path: Path, media: list[tuple[Sample, Path]]) -> None:
    pooled = pool_media(media, Encoder(), SpatioTemporalPooling(2), tmp_path)
    assert [(len(m.pooled), m.is_video) for m in pooled] == [(5, False), (8, True), (5, False)]
