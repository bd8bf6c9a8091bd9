"""Sampling is integer arithmetic, timelines are sorted facts."""

import doctest
import math
import random

import pytest

from encoder.video import VideoError, geometry, sampling, timeline
from encoder.video.sampling import sample_frame_indices, sample_span


@pytest.mark.parametrize("module", [sampling, timeline, geometry], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: object) -> None:
    tested = doctest.testmod(module)
    assert tested.attempted > 0
    assert tested.failed == 0


@pytest.mark.parametrize(("available", "wanted"), [(1, 1), (1, 8), (7, 8), (8, 8), (9, 8), (18_000, 8), (432_000, 64)])
def test_indices_are_middles_of_equal_segments(available: int, wanted: int) -> None:
    indices = sample_frame_indices(available, wanted)
    assert indices == sorted(indices)
    for i, index in enumerate(indices):
        middle = (i + 0.5) * available / wanted
        assert 0 <= middle - index < 1
    if available == wanted:
        assert indices == list(range(wanted))


def test_places_lie_in_their_segments() -> None:
    """For any clip: in range, in order, and never past the segment, however near to its end the place."""
    dice = random.Random(0)
    largest = math.nextafter(1.0, 0.0)
    for _ in range(2000):
        available, wanted = dice.choice([dice.randint(1, 40), dice.randint(1, 10**6)]), dice.randint(1, 64)
        places = [dice.choice([0.0, 1e-300, largest, dice.random()]) for _ in range(wanted)]
        indices = sample_frame_indices(available, wanted, places)
        assert indices == sorted(indices)
        for i, (index, place) in enumerate(zip(indices, places, strict=True)):
            assert i * available // wanted <= index < -(-(i + 1) * available // wanted)
            assert abs(index - math.floor((i + place) * available / wanted)) <= (place in (1e-300, largest))
        assert sample_frame_indices(available, wanted, [0.5] * wanted) == sample_frame_indices(available, wanted)


def test_the_middle_is_exact() -> None:
    for available in range(1, 200):
        for wanted in range(1, 40):
            middles = [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]
            assert sample_frame_indices(available, wanted) == middles


def test_places_choose_within_a_span() -> None:
    times = [i / 10 for i in range(30)]
    assert sample_span(times, 2, start=1.0, end=1.9, places=[0.0, 0.99]) == [10, 19]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0.5], "each of the 2 frames, got 1"),
        ([0.5, 1], "got 1"),
        ([-0.1, 0.5], "got -0.1"),
        ([float("nan"), 0.5], "got nan"),
    ],
)
def test_places_that_are_none(places: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_frame_indices(10, 2, places)


@pytest.mark.parametrize(("available", "wanted"), [(0, 1), (1, 0)])
def test_nothing_to_sample(available: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_frame_indices(available, wanted)


def test_span_includes_both_ends_and_rounded_times() -> None:
    times = [i / 30 for i in range(31)]
    assert sample_span(times, 3, start=0.033, end=0.1) == [1, 2, 3]
    assert sample_span(times, 1, start=1.0, end=1.0) == [30]
    with pytest.raises(VideoError, match="no frame between"):
        sample_span(times, 1, start=0.04, end=0.05)
