"""Decoding from end to end: both passes keep to the time that they are given."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from encoder.video import linear
from encoder.video.container import Movie, open_movie
from encoder.video.linear import TooSlowError, read_linear
from encoder.video.sniff import recognise


@pytest.fixture
def reopen(clip: Path) -> Iterator[Callable[[], Movie]]:
    """Open the clip of 30 frames, as often as asked."""
    fd = os.open(clip, os.O_RDONLY)
    kind = recognise(fd, str(clip))
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_movie(fd, kind))
    os.close(fd)


@pytest.fixture
def read(reopen: Callable[[], Movie], monkeypatch: pytest.MonkeyPatch) -> Callable[[float, list[int]], list[int]]:
    """Sample three frames until a deadline on a clock that counts decoded frames, by a guess that is always wrong."""
    clock = count(1)
    monkeypatch.setattr(linear, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))

    def run(deadline: float, kept: list[int]) -> list[int]:
        return read_linear(
            reopen, set(), 3, (None, None), lambda i, _: kept.append(i), threads=False, deadline=deadline
        )[1]

    return run


@pytest.mark.parametrize(("deadline", "before"), [(29.5, [0]), (36.5, [0, 5])])
def test_each_pass_ends_at_the_deadline(read: Callable, deadline: float, before: list[int]) -> None:
    """The first pass takes 30 frames, the second begins after it."""
    kept: list[int] = []
    with pytest.raises(TooSlowError):
        read(deadline, kept)
    assert kept == before


def test_places_choose_the_frames(reopen: Callable[[], Movie]) -> None:
    kept: list[int] = []
    settings = {"places": [0.0, 0.5, 0.99], "threads": False, "deadline": float("inf")}
    picks = read_linear(reopen, {0, 15}, 3, (None, None), lambda i, _: kept.append(i), **settings)[1]
    assert picks == [0, 15, 29]
    assert kept == [0, 15, 29]


def test_a_wrong_guess_costs_a_second_pass(read: Callable) -> None:
    kept: list[int] = []
    assert read(60.0, kept) == [5, 15, 25]
    assert kept == [0, 5, 15, 25]
