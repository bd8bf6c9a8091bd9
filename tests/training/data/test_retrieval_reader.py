"""Rows of videos and captions: what joins, and what is refused with its line."""

import json
from pathlib import Path

import pytest

from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo, read_retrieval


def write(folder: Path, *rows: object) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_one_video_join_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"video": "./clips/b.mp4", "caption": "A bird."},
        {"video": "a.mp4", "captions": ["An ant.", "It walks."], "id": "7", "split": "test"},
        {"video": "clips//b.mp4", "captions": ["It sings."], "split": "test"},
        {"video": "a.mp4", "caption": "An ant."},
    )
    assert read_retrieval(path) == [
        CaptionedVideo(video="clips/b.mp4", captions=("A bird.", "It sings."), split="test"),
        CaptionedVideo(video="a.mp4", captions=("An ant.", "It walks.", "An ant."), split="test"),
    ]


def test_a_json_list_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{"video": "a.mp4", "caption": "An ant."}]))
    assert read_retrieval(path) == [CaptionedVideo(video="a.mp4", captions=("An ant.",))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a.mp4", "text": "x"}, r"unknown \['text'\]. Known keys: caption, captions, id, split, video"),
        ({"caption": "x"}, "expected text in 'video', got None"),
        ({"video": "", "caption": "x"}, "expected text in 'video', got ''"),
        ({"video": 3, "caption": "x"}, "expected text in 'video', got 3"),
        ({"video": "a.mp4"}, "expected one of caption, captions, got neither"),
        ({"video": "a.mp4", "caption": "x", "captions": ["x"]}, r"got \['caption', 'captions'\]"),
        ({"video": "a.mp4", "caption": " "}, "expected in 'caption' text that is not empty, got ' '"),
        ({"video": "a.mp4", "caption": ["x"]}, r"expected in 'caption' text that is not empty, got \['x'\]"),
        ({"video": "a.mp4", "captions": "x"}, "expected in 'captions' text that is not empty, got 'x'"),
        ({"video": "a.mp4", "captions": []}, "expected in 'captions' text that is not empty"),
        ({"video": "a.mp4", "captions": ["x", None]}, "expected in 'captions' text that is not empty"),
        ({"video": "a.mp4", "caption": "x", "split": 1}, "expected text in 'split', got 1"),
        ({"video": "a.mp4", "caption": "x", "split": "test"}, "expected one split in a file, got 'test' after 'val'"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path, {"video": "b.mp4", "caption": "A bird.", "split": "val"}, row)
    with pytest.raises(DataError, match=message) as error:
        read_retrieval(path)
    assert str(error.value).startswith(f"{path}:2: ")


def test_a_list_of_something_else_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text('[{"video": "a.mp4", "caption": "x"},\n"b.mp4"]')
    with pytest.raises(DataError, match=r"pairs.json:2: expected a JSON object, got str: b.mp4"):
        read_retrieval(path)


def test_a_missing_or_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing.jsonl: no such file"):
        read_retrieval(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="at least one video with a caption, got none"):
        read_retrieval(write(tmp_path))
