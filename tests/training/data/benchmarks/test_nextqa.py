"""NExT-QA: an index in the one table, text in the other; questions are numbered within their video."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import nextqa
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]


def test_golden_multiple_choice(golden: Golden) -> None:
    root = golden("nextqa/choice")
    assert (root / "val.csv").read_bytes().startswith(b"\xef\xbb\xbfvideo"), "the miniature has a byte-order mark"
    assert nextqa.read(root) == [
        Item(
            id="7001_6", video="NExTVideo/1150/7001.mp4", question="why did the girl lift the box",
            candidates=("to hide it", "to look, then leave", "none", "to reach the cat", "dancing"), answer=3,
            groups={"type": "CW", "family": "causal"},
        ),
        Item(
            id="7002_6", video="NExTVideo/0021/7002.mp4", question="what does the dog do after barking",
            candidates=("runs away", "sits", 'says "woof"', "eats", "sleeps"), answer=0,
            groups={"type": "TN", "family": "temporal"},
        ),
        Item(
            id="7001_0", video="NExTVideo/1150/7001.mp4", question="where is this place",
            candidates=("park", "school", "kitchen", "road", "beach"), answer=4,
            groups={"type": "DL", "family": "descriptive"},
        ),
    ]  # fmt: skip


def test_golden_open(golden: Golden) -> None:
    assert nextqa.read(golden("nextqa/open"), open_ended=True) == [
        Item(
            id="8001_2", video="NExTVideo/8001.mp4", question="how did the boy cross the stream",
            answers=("jump over", "leap"), groups={"type": "CH", "family": "causal"},
        ),
        Item(
            id="8002_2", video="NExTVideo/8002.mp4", question="is the bird inside",
            answers=("no",), groups={"type": "DB", "family": "descriptive"},
        ),
        Item(
            id="8001_1", video="NExTVideo/8001.mp4", question="what did the boy do before he jumped",
            answers=("ran, then stopped", "took a run"), groups={"type": "TP", "family": "temporal"},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["choice", "open"])
def test_the_split_that_is_there_is_read_and_the_test_before_val(golden: Golden, kind: str) -> None:
    root = golden(f"nextqa/{kind}")
    table = next(root.glob("*.csv"))
    test, val = root / "test.csv", root / "val.csv"
    text = table.read_text()
    table.unlink()
    with pytest.raises(DataError, match=r"/test\.csv: no such file, nor val\.csv\."):
        nextqa.read(root, open_ended=kind == "open")
    val.write_text(text)
    whole = nextqa.read(root, open_ended=kind == "open")
    assert len(whole) == 3
    test.write_text("\n".join(text.split("\n")[:2]))
    assert [item.id for item in nextqa.read(root, open_ended=kind == "open")] == [whole[0].id]
    assert nextqa.read(root, open_ended=kind == "open", split="val") == whole


def test_second_answers_are_those_of_the_split(golden: Golden) -> None:
    root = golden("nextqa/open")
    (root / "test.csv").rename(root / "val.csv")
    assert [item.answers for item in nextqa.read(root, open_ended=True)][0] == ("jump over",)
    (root / "add_reference_answer_test.json").rename(root / "add_reference_answer_val.json")
    assert [item.answers for item in nextqa.read(root, open_ended=True)][0] == ("jump over", "leap")


def test_second_answers_may_be_absent(golden: Golden) -> None:
    root = golden("nextqa/open", {"add_reference_answer_test.json": None})
    assert [item.answers for item in nextqa.read(root, open_ended=True)] == [
        ("jump over",), ("no",), ("ran, then stopped",),
    ]  # fmt: skip


def test_videos_may_lie_flat(golden: Golden) -> None:
    root = golden("nextqa/choice")
    (root / "videos").mkdir()
    (root / "videos/7002.mp4").touch()
    assert [item.video for item in nextqa.read(root)][1] == "videos/7002.mp4"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("val.csv", None, r"/test\.csv: no such file, nor val\.csv\."),
        ("val.csv", ("box,3,6", "box,5,6"), r"val\.csv:2: expected an index from 0 to 4 in 'answer', got '5'"),
        ("val.csv", ("box,3,6", "box,to hide it,6"), r"val\.csv:2: expected an index from 0 to 4 in 'answer'"),
        ("val.csv", (",none,", ",,"), r"val\.csv:2: expected text in 'a2', got ''"),
        ("val.csv", ("place,4,0", "place,4,6"), r"val\.csv: the id '7001_6' comes twice"),
        ("val.csv", (",6,TN,", ",6,XN,"), r"val\.csv:3: expected a type that begins with one of C, T, D in 'type'"),
        ("val.csv", ("park,school", "park"), r"val\.csv:4: expected 13 columns, got 12"),
        ("val.csv", ('"to look, then leave"', "to look, then leave"), r"val\.csv:2: expected 13 columns, got 14"),
        ("val.csv", ("qid,type,a0", "qid,type,a1"), r"val\.csv:1: expected every column once"),
        ("val.csv", ("qid,type", "qid,kind"), r"val\.csv:1: missing \['type'\]"),
        ("map_vid_vidorID.json", ('"7002": "0021/7002", ', ""), r"val\.csv:3: expected a key of map_vid_vidorID\.json"),
        ("map_vid_vidorID.json", ('"7003"', '"7001"'), r"vidorID\.json:1: the key '7001' comes twice"),
    ],
)
def test_broken_multiple_choice(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("nextqa/choice", {file: change})
    with pytest.raises(DataError, match=message):
        nextqa.read(root)


def test_the_tables_are_not_taken_for_each_other(golden: Golden) -> None:
    with pytest.raises(DataError, match=r"val\.csv:1: expected the table of open questions, got columns a0, a1"):
        nextqa.read(golden("nextqa/choice"), open_ended=True)
    with pytest.raises(DataError, match=r"test\.csv:1: missing \['a0', 'a1', 'a2', 'a3', 'a4'\]"):
        nextqa.read(golden("nextqa/open"))


def test_broken_second_answers(golden: Golden) -> None:
    root = golden("nextqa/open", {"add_reference_answer_test.json": ('"2": "leap"', '"1": "leap"')})
    with pytest.raises(DataError, match=r"answer_test\.json:1: the key '1' comes twice"):
        nextqa.read(root, open_ended=True)
    (root / "add_reference_answer_test.json").write_text('{"8001": "leap"}')
    with pytest.raises(DataError, match=r"answer_test\.json: expected answers by qid under '8001', got 'leap'"):
        nextqa.read(root, open_ended=True)
