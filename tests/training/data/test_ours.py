"""Our own files of questions: what is read, and what is told about a bad row."""

import json
from pathlib import Path

import pytest

from training.data.benchmarks.ours import read_choices, read_descriptions, read_open
from training.data.jsonl import DataError
from training.evaluation.controls import derange

ROWS = [
    {
        "id": f"a{i}",
        "video": "a.mp4",
        "question": "What is shown?",
        "candidates": ["apple pie", "bread", "cake"],
        "answer": i,
    }
    for i in range(2)
]

SPELLINGS = ("clips/a.mp4", "./clips/a.mp4", "clips//a.mp4", "clips/./a.mp4")


def write(tmp_path: Path, rows: list[dict]) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 3}, "index below 3, got 3"),
        ({"answer": True}, "index below 3, got True"),
        ({"answer": "b"}, "index below 3, got 'b'"),
        ({"candidates": ["one"]}, "two or more texts"),
        ({"candidates": ["one", ""]}, "two or more texts"),
        ({"video": None}, "expected text in 'video'"),
        ({"id": "a0"}, "'a0' comes twice"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path: Path, change: dict, message: str) -> None:
    data = write(tmp_path, [ROWS[0], ROWS[1] | change])
    with pytest.raises(DataError, match=rf"questions\.jsonl:2: .*{message}"):
        read_choices(data)


def test_two_spellings_of_one_file_are_one_video(tmp_path: Path) -> None:
    """Else it would be shown as its own wrong video, and its questions would count as independent."""
    rows = [ROWS[0], ROWS[1] | {"video": "./a.mp4"}, ROWS[1] | {"id": "a2", "video": "clips//../a.mp4"}]
    items = read_choices(write(tmp_path, rows))
    assert [item.video for item in items] == ["a.mp4", "a.mp4", "clips/../a.mp4"], "what a link changes is left alone"
    with pytest.raises(DataError, match="another one to show, got 1 distinct"):
        derange(items[:2], seed=0)
    answers = [{"id": str(i), "video": video, "question": "Who?", "answer": "x"} for i, video in enumerate(SPELLINGS)]
    assert {item.video for item in read_open(write(tmp_path, answers))} == {"clips/a.mp4"}
    keywords = {"subject": ["boy"], "action": ["run"]}
    [item] = read_descriptions(write(tmp_path, [keywords | {"video": SPELLINGS[1]}]))
    assert item.id == item.video == "clips/a.mp4"
    with pytest.raises(DataError, match=r"questions\.jsonl:2: the id 'clips/a\.mp4' comes twice"):
        read_descriptions(write(tmp_path, [keywords | {"video": video} for video in SPELLINGS]))


def test_no_questions_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one question"):
        read_choices(write(tmp_path, []))
    with pytest.raises(DataError, match="found none"):
        read_choices(tmp_path / "none.jsonl")


def test_open_questions_and_descriptions(tmp_path: Path) -> None:
    [item] = read_open(
        write(
            tmp_path,
            [
                {
                    "id": "1",
                    "video": "v.mp4",
                    "question": "Who?",
                    "answer": "a boy",
                    "answers": ["boy", "a boy", "child"],
                }
            ],
        )
    )
    assert item.answers == ("a boy", "boy", "child"), "the published answer first"
    assert read_open(write(tmp_path, [{"id": "1", "video": "v", "question": "Who?", "answer": "x"}]))[0].answers == (
        "x",
    )
    [item] = read_descriptions(write(tmp_path, [{"video": "v.mp4", "subject": ["boy"], "action": ["run", "jog"]}]))
    assert (item.id, item.question) == ("v.mp4", "What is happening in the video?")
    assert (item.subject, item.action) == (("boy",), ("run", "jog"))
    with pytest.raises(DataError, match=r"questions.jsonl:1: expected one or more texts in 'action'"):
        read_descriptions(write(tmp_path, [{"video": "v.mp4", "subject": ["boy"], "action": []}]))


def test_ids_may_be_numbers_and_rows_may_say_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"video": "a.mp4", "question": "What?", "candidates": ["x", "y"], "answer": 0, "source": "the web"}
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row | {"id": i, "task": f"t{i}"}) + "\n" for i in (7, 8)))
    assert [(item.id, item.groups) for item in read_choices(path)] == [("7", {"task": "t7"}), ("8", {"task": "t8"})]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:1: unknown ['source'], not read here. Known keys: answer, candidates, id, question, task, video."
    ], "said once"
