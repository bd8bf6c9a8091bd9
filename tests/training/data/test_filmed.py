"""Camera moves over pictures: computed once, from the picture's content and the move alone."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoder.video import read_frames
from tests.bridge.conftest import tiny_encoder
from training.data.camera import FILMED, camera_path, film
from training.data.features import FeatureCache
from training.data.filmed import film_pictures
from training.data.jsonl import Sample


def test_states_are_those_of_the_filmed_frames_and_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    sample = Sample(media=tmp_path / "a.png", is_video=False, captions=("A wall.",), qa=(), split="train")
    encoder = tiny_encoder()
    cache = FeatureCache(folder=tmp_path / "features", tower="tiny", num_frames=4, dtype=torch.float32)
    done: list[int] = []
    (moves,) = film_pictures([(sample, cache.path(sample))], cache, encoder, done.append)
    assert list(moves) == list(FILMED)
    assert done == [1]
    tower, pixels = encoder.backbone, read_frames(sample.media, 1).pixels[0]
    for move, path in moves.items():
        windows = camera_path(move, 4, random.Random(path.stem))
        with torch.no_grad():
            expected = tower.frame_states(
                tower.transform(film(pixels, windows, tower.transform.size)), encoder.branch.depth
            )
        torch.testing.assert_close(FeatureCache.load(path).float(), expected, rtol=0, atol=2e-3)
    before = {path: path.stat().st_mtime_ns for path in moves.values()}
    monkeypatch.setattr("training.data.filmed.film", None)  # nothing is filmed again
    assert film_pictures([(sample, cache.path(sample))], cache, encoder) == [moves]
    assert before == {path: path.stat().st_mtime_ns for path in moves.values()}
    assert film_pictures([], cache, encoder) == []
