"""SubRip files as they are found: marks of players, line breaks of two kinds, empty entries."""

from pathlib import Path

import pytest

from training.data.benchmarks.subtitles import Subtitle, on_screen, read_subtitles
from training.data.jsonl import DataError


def test_golden() -> None:
    path = Path(__file__).parent / "video_mme/subtitles/ab1_Cd-2.srt"
    assert b"\\N" in path.read_bytes()
    assert b"\r\n" in path.read_bytes()
    assert read_subtitles(path) == [
        Subtitle(start=1.0, end=2.5, text="Here is the jar,"),
        Subtitle(start=63.25, end=3604.0, text="and there goes the spoon."),
    ]


def test_what_is_said_may_hold_an_empty_line(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "00:00:00.5 --> 00:00:01,000 X1:3\n{\\an8}- Who?\n\n- I am 7.\n\n2\n00:00:02,000 --> 00:00:03,000\n<i>Yes\n"
    )
    assert read_subtitles(path) == [
        Subtitle(start=0.5, end=1.0, text="- Who? - I am 7."),
        Subtitle(start=2.0, end=3.0, text="Yes"),
    ]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([], ""),
        ([0.0, 0.9], ""),
        ([1.0], "one"),
        ([1.99], "one"),
        ([2.0], "two"),
        ([2.5], "two\nthree"),
        ([3.5, 2.6, 1.0], "one\ntwo\nthree"),
        ([4.0, 90.0], ""),
    ],
)
def test_what_is_on_screen_in_the_frames(times: list[float], words: str) -> None:
    """A line is shown from its start to before its end, each once, in the order in which they are said."""
    lines = [(1.0, 2.0, "one"), (2.0, 4.0, "two"), (2.5, 4.0, "three"), (5.0, 5.0, "never")]
    assert on_screen(lines, times) == words


def test_an_hour_of_subtitles_becomes_a_few_lines(tmp_path: Path) -> None:
    """At most one line a frame where one stands at a time, however long the video."""
    blocks = [f"{i}\n{clock(2 * i)} --> {clock(2 * i + 2)}\nWord {i}.\n" for i in range(1800)]
    (tmp_path / "a.srt").write_text("\n".join(blocks))
    words = on_screen(read_subtitles(tmp_path / "a.srt"), [225.0 + 450 * i for i in range(8)])
    assert words.split("\n") == [f"Word {112 + 225 * i}." for i in range(8)]


def clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},000"


def test_an_empty_file_has_no_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(" \n")
    assert read_subtitles(tmp_path / "a.srt") == []


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("<html>Not found</html>")
    with pytest.raises(DataError, match=r"a\.srt:1: expected subtitles with times"):
        read_subtitles(tmp_path / "a.srt")
