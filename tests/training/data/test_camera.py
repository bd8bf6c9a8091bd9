"""Camera moves go where their words say."""

import random

import pytest
import torch

from training.data.camera import BACKWARDS, MOVES, camera_path, film

RAMP = torch.arange(200, dtype=torch.uint8).expand(3, 120, 200)
"""Brighter to the right."""


@pytest.mark.parametrize("seed", range(20))
def test_what_is_seen_moves_against_the_camera(seed: int) -> None:
    brightness = {
        move: film(RAMP, camera_path(move, 8, random.Random(seed)), 56).float().mean((1, 2, 3)) for move in MOVES
    }
    assert (brightness["right"].diff() > 0).all(), "the window comes to the bright side"
    assert (brightness["left"].diff() < 0).all()
    spread = {move: film(RAMP, camera_path(move, 8, random.Random(seed)), 56).float().std((1, 2, 3)) for move in MOVES}
    assert (spread["in"].diff() < 0).all(), "less of the picture is seen"
    assert (spread["out"].diff() > 0).all()


@pytest.mark.parametrize("move", MOVES)
def test_backwards_is_the_other_direction(move: str) -> None:
    path = camera_path(move, 8, random.Random(3))
    assert camera_path(BACKWARDS[move], 8, random.Random(3)) == path[::-1]


@pytest.mark.parametrize("move", MOVES)
def test_windows_stay_inside_the_picture(move: str) -> None:
    for seed in range(200):
        for window in camera_path(move, 5, random.Random(seed)):
            assert window.side / 2 - 1e-9 <= min(window.x, window.y)
            assert max(window.x, window.y) <= 1 - window.side / 2 + 1e-9


def test_a_path_depends_on_nothing_but_its_seed() -> None:
    assert camera_path("in", 8, random.Random(1)) == camera_path("in", 8, random.Random(1))
    assert camera_path("in", 8, random.Random(1)) != camera_path("in", 8, random.Random(2))


def test_impossible_moves_are_refused() -> None:
    with pytest.raises(KeyError, match="Known moves: left, right, in, out"):
        camera_path("up", 8, random.Random(0))
    with pytest.raises(ValueError, match="two frames or more, got 1"):
        camera_path("in", 1, random.Random(0))
