"""MVBench: answers are texts, some questions are about a part of a video, some videos are folders of pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import mvbench
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]
TASKS = ("action_sequence", "unexpected_action", "episodic_reasoning")


def test_golden(golden: Golden) -> None:
    assert mvbench.read(golden("mvbench"), TASKS) == [
        Item(
            id="action_sequence/0", video="video/star/Charades_v1_480/A1B2C.mp4",
            question="What happened after the person opened the tin?",
            candidates=("Closed the door.", "Ate the soup.", "Sat on the rug.", "Took the lamp."), answer=1,
            start=4.5, end=21.9, groups={"task": "action_sequence"},
        ),
        Item(
            id="action_sequence/1", video="video/star/Charades_v1_480/D3E4F.mp4",
            question="What happened before the person folded the shirt?",
            candidates=("Washed the cup.", "Threw the shoe.", "Opened the bag."), answer=2,
            start=0.0, end=12.25, groups={"task": "action_sequence"},
        ),
        Item(
            id="unexpected_action/0", video="video/FunQA_test/test/H_A_7.gif",
            question="What is funny about the goat?",
            candidates=("It wears a hat.", "It wears a hat.", "It sings, loudly.", "It sleeps.", "It flies."),
            answer=0, groups={"task": "unexpected_action"},
        ),
        Item(
            id="episodic_reasoning/0", video="video/tvqa/frames_fps3_hq/show_s01e02_seg03_clip_04",
            question="Why does Ann look at Bob when he enters the room?",
            candidates=("He is wet.", "He is late.", "He is lost.", "He sings.", "He fell."), answer=1,
            start=0.0, end=7.7, groups={"task": "episodic_reasoning"},
        ),
    ]  # fmt: skip


def test_the_table_is_the_published_one() -> None:
    assert len(mvbench.TASKS) == 20
    assert sorted(name for name, task in mvbench.TASKS.items() if task.bounded) == [
        "action_localization", "action_prediction", "action_sequence", "episodic_reasoning", "object_interaction",
    ]  # fmt: skip
    assert {name: task.kind for name, task in mvbench.TASKS.items() if task.kind != "video"} == {
        "episodic_reasoning": "frames"
    }


def test_all_tasks_are_read_by_default(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    row = {"video": "a.mp4", "question": "Which?", "candidates": ["one", "two", "three"], "answer": "two"}
    for task in mvbench.TASKS:
        (tmp_path / "json" / f"{task}.json").write_text(json.dumps([row | {"start": 1, "end": 2}] * 2))
    items = mvbench.read(tmp_path)
    assert len(items) == len({item.id for item in items}) == 40
    assert sum(item.start is not None for item in items) == 10, "only bounded tasks are about a part"


def test_replaced_videos_lie_in_a_folder_of_their_own(golden: Golden) -> None:
    root = golden("mvbench")
    moved = root / "video/data0613/star/Charades_v1_480/D3E4F.mp4"
    moved.parent.mkdir(parents=True)
    moved.touch()
    videos = [item.video for item in mvbench.read(root, ["action_sequence"])]
    assert videos == ["video/star/Charades_v1_480/A1B2C.mp4", "video/data0613/star/Charades_v1_480/D3E4F.mp4"]


def test_two_spellings_of_one_file_are_one_video(golden: Golden) -> None:
    root = golden("mvbench", {"json/action_sequence.json": ('"D3E4F.mp4"', '"./A1B2C.mp4"')})
    assert {item.video for item in mvbench.read(root, ["action_sequence"])} == {"video/star/Charades_v1_480/A1B2C.mp4"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"json/action_sequence\.json: no such file"),
        (('"answer": "Ate the soup."', '"answer": "B"'), r"\.json:\d+: row 1: expected the text of one of .* got 'B'"),
        (('"answer": "Opened the bag."', '"answer": ""'), r"\.json:\d+: row 2: expected text in 'answer', got ''"),
        (('"start": 4.5', '"start": "soon"'), r"\.json:\d+: row 1: expected a number in 'start', got 'soon'"),
        (('"end": 12.25', '"ending": 12.25'), r"\.json:\d+: row 2: expected a number in 'end', got None"),
        (('"question": "What happened before', '"query": "What'), r"\.json:\d+: row 2: missing \['question'\]"),
        (('["Closed the door.", ', "[7, "), r"\.json:\d+: row 1: expected 2 or more texts in 'candidates'"),
        (('"video": "A1B2C.mp4"', '"video": 3'), r"\.json:\d+: row 1: expected text in 'video', got 3"),
        (("},\n", "}\n"), r"\.json:\d+: expected a list of JSON objects \(Expecting ','"),
    ],
)
def test_broken(golden: Golden, change: tuple[str, str] | None, message: str) -> None:
    root = golden("mvbench", {"json/action_sequence.json": change})
    with pytest.raises(DataError, match=message):
        mvbench.read(root, TASKS)


def test_published_keys_are_known(golden: Golden, caplog: pytest.LogCaptureFixture) -> None:
    mvbench.read(golden("mvbench"), TASKS)
    assert caplog.text == ""


def test_keys_that_nobody_reads_are_reported_once_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "json").mkdir()
    row = {"video": "a.mp4", "question": "Which?", "candidates": ["one", "two"], "answer": "two", "hint": "2"}
    (tmp_path / "json/action_antonym.json").write_text(json.dumps([row] * 3))
    mvbench.read(tmp_path, ["action_antonym"])
    assert caplog.text.count("['hint'] are not read. Known keys: accurate_end, accurate_start, answer") == 1
