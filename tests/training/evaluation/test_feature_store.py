"""Features that a stopped run finds again: only those of the same bytes, part and maker."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.evaluation.feature_store import FeatureStore


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_text("a video")
    return path


def never() -> Tensor:
    raise AssertionError("computed")


def test_what_was_computed_comes_back_bit_for_bit(tmp_path: Path, video: Path) -> None:
    """Also of a picture, whose one row is repeated without being copied."""
    store = FeatureStore(tmp_path / "features", "w1")
    frames = torch.randn(1, 5, generator=torch.Generator().manual_seed(0)).expand(4, -1)
    assert store.get(video, None, lambda: frames) is frames
    video.rename(tmp_path / "moved.mp4")
    found = FeatureStore(tmp_path / "features", "w1").get(tmp_path / "moved.mp4", None, never)
    assert found.numpy().tobytes() == frames.numpy().tobytes()


def test_other_parts_makers_and_bytes_are_computed_anew(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "features"

    def computed(made_by: str, end: float | None) -> float:
        return FeatureStore(folder, made_by).get(video, end, lambda: torch.full((1, 1), next(numbers))).item()

    numbers = iter(torch.arange(9.0).tolist())
    assert [computed("w1", None), computed("w1", 30.0), computed("w2", None)] == [0.0, 1.0, 2.0]
    assert [computed("w2", None), computed("w1", 30.0), computed("w1", None)] == [2.0, 1.0, 0.0]
    video.write_text("another video")
    assert computed("w1", None) == 3.0


def test_nothing_is_kept_of_a_failure(tmp_path: Path, video: Path) -> None:
    def fails() -> Tensor:
        raise ValueError("it is being copied")

    store = FeatureStore(tmp_path / "features", "w1")
    for path in (video, tmp_path / "gone.mp4"):
        with pytest.raises(ValueError, match="it is being copied"):
            store.get(path, None, fails)
    assert not (tmp_path / "features").exists()
