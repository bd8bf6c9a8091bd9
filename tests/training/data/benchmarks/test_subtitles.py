"""SubRip files as they are found: marks of players, line breaks of two kinds, empty entries."""

from pathlib import Path

import pytest

from training.data.benchmarks.subtitles import Subtitle, read_subtitles
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


def test_an_empty_file_has_no_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(" \n")
    assert read_subtitles(tmp_path / "a.srt") == []


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("<html>Not found</html>")
    with pytest.raises(DataError, match=r"a\.srt:1: expected subtitles with times"):
        read_subtitles(tmp_path / "a.srt")
