"""A data file says what it means, or where it does not."""

import json
from pathlib import Path

import pytest

from training.data.jsonl import DataError, Sample, read_rows, read_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a picture and a video to name; nobody looks inside."""
    for name in ("a.png", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder: Path, text: str, name: str = "data.jsonl") -> list[Sample]:
    (folder / name).write_bytes(text.encode())
    return read_samples(folder / name)


def read_row(folder: Path, **row: object) -> Sample:
    (sample,) = read(folder, json.dumps({"image": "a.png"} | row) + "\n")
    return sample


@pytest.mark.parametrize("key", ["caption", "captions"])
def test_a_sentence_and_a_list_of_them_are_captions_under_both_keys(folder: Path, key: str) -> None:
    assert read_row(folder, **{key: "a dog ."}).captions == ("A dog.",)
    assert read_row(folder, **{key: ["a dog .", "two cats"]}).captions == ("A dog.", "Two cats.")


def test_what_a_row_leaves_out_has_a_meaning(folder: Path) -> None:
    sample = read_row(folder, qa=[{"question": "Who?", "answer": "a dog"}])
    assert (sample.captions, sample.qa, sample.split) == ((), (("Who?", "a dog"),), "train")
    assert (sample.start, sample.end, sample.is_video) == (None, None, False)
    (video,) = read(folder, '{"video": "b.mp4", "label": "fight", "split": "val", "start": 0, "end": 2.5}')
    assert (video.media, video.is_video, video.split) == (folder / "b.mp4", True, "val")
    assert (video.start, video.end) == (0, 2.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"caption": 3}, "sentences in 'caption', got '3'"),
        ({"captions": {"en": "A dog."}}, "sentences in 'captions'"),
        ({"captions": ["A dog.", None]}, "sentences in 'captions'"),
        ({"captions": ["A dog.", " . "]}, "sentences in 'captions'"),
        ({"captions": []}, "expected something in one of caption"),
        ({"caption": "A dog.", "split": "valid"}, "a split of train, val, test, got 'valid'"),
        ({"caption": "A dog.", "split": None}, "a split of train, val, test, got None"),
        ({"caption": "A dog.", "split": ["val"]}, "a split of train, val, test"),
        ({"caption": "A dog.", "start": "3"}, "seconds in 'start', got '3'"),
        ({"caption": "A dog.", "end": True}, "seconds in 'end', got True"),
        ({"caption": "A dog.", "end": float("inf")}, "seconds in 'end', got inf"),
        ({"caption": "A dog.", "start": float("nan")}, "seconds in 'start', got nan"),
        ({"caption": "A dog.", "start": -1}, "0 <= start < end"),
        ({"caption": "A dog.", "start": 2, "end": 2}, "0 <= start < end"),
        ({"caption": "A dog.", "end": 0}, "0 <= start < end"),
        ({"qa": {"question": "Who?", "answer": "a dog"}}, "qa is a list"),
        ({"qa": [{"question": "Who?"}]}, "qa is a list"),
        ({"qa": [{"question": "How many?", "answer": 2}]}, "texts as question and answer, got 2"),
        ({"qa": [{"question": "", "answer": "a dog"}]}, "texts as question and answer, got ''"),
        ({"caption": "A dog.", "image": 3}, "image 3 does not exist"),
        ({"caption": "A dog.", "image": "c.png"}, "image 'c.png' does not exist"),
        ({"caption": "A dog.", "video": "b.mp4"}, "one of image, video"),
        ({"caption": "A dog.", "colour": "red"}, r"unknown \['colour'\]. Known keys: caption,"),
        ({}, "expected something in one of caption"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(folder: Path, row: dict, message: str) -> None:
    good = json.dumps({"image": "a.png", "caption": "A dog."})
    with pytest.raises(DataError, match=message) as caught:
        read(folder, f"{good}\n\n{json.dumps({'image': 'a.png'} | row)}\n")
    assert str(caught.value).startswith(f"{folder / 'data.jsonl'}:3: ")


def test_only_a_newline_ends_a_line(folder: Path) -> None:
    odd = "A dog\u2028and\u0085a\x0ccat."
    rows = [json.dumps({"image": "a.png", "caption": odd}, ensure_ascii=False).replace("\\f", "\x0c")] * 2
    with pytest.raises(DataError, match=r"data.jsonl:1: .*Invalid control character"):
        read(folder, rows[0])  # JSON itself forbids a raw form feed, and the message must not speak of half a line
    text = "\ufeff" + "\r\n".join(row.replace("\x0c", " ") for row in rows) + "\r\n"
    assert [sample.captions for sample in read(folder, text)] == [("A dog and a cat.",)] * 2


def test_a_list_is_read_like_lines(folder: Path) -> None:
    rows = [{"image": "a.png", "caption": "A dog, [or], {a cat}."}, {"image": "a.png", "captions": ["Two."]}]
    text = "\n" + json.dumps(rows, indent=1)
    assert [sample.captions for sample in read(folder, text, "data.json")] == [("A dog, [or], {a cat}.",), ("Two.",)]
    assert [number for number, _ in read_rows(folder / "data.json")] == [3, 7]
    assert read(folder, "[]") == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[{"image": "a.png", "caption": "A dog."},\n 3]', 2, "expected a JSON object, got int: 3"),
        ('[\n{"image": "a.png"}]', 2, "expected something"),
        ('[{"image": "a.png"},\n{"image"]', 2, "expected a list of JSON objects"),
        ('{"image": "a.png", "caption": "A dog."}\n7\n', 2, "expected a JSON object, got int: 7"),
        ('{"image": "a.png", "caption": "A dog."}\n{"image":\n', 2, "expected one JSON object a line"),
    ],
)
def test_what_is_not_json_is_named_with_its_line(folder: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(folder, text)
    assert str(caught.value).startswith(f"{folder / 'data.jsonl'}:{line}: ")


def test_another_encoding_is_named_with_its_line(folder: Path) -> None:
    (folder / "data.jsonl").write_bytes(b'{"image": "a.png", "caption": "A dog."}\n{"caption": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"data.jsonl:2: expected UTF-8, got the byte 0xe9"):
        read_samples(folder / "data.jsonl")


def test_a_detail_is_a_sentence_or_nothing(folder: Path) -> None:
    assert read_row(folder, caption="A dog.").detail == ""
    assert read_row(folder, caption="A dog.", detail=" ").detail == ""
    assert read_row(folder, caption="A dog.", detail="the camera pans left").detail == "The camera pans left."
    with pytest.raises(DataError, match=r"data.jsonl:1: expected a text in 'detail', got .*it turns"):
        read_row(folder, caption="A dog.", detail=["it turns"])
