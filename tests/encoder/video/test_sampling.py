"""Sampling is integer arithmetic, timelines are sorted facts."""

import doctest

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
