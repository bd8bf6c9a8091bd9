"""TGIF-QA: tables separated by tabs, options counted from 0 or from 1."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import tgif_qa
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]


def test_golden(golden: Golden) -> None:
    assert tgif_qa.read(golden("tgif_qa")) == [
        Item(
            id="ACTION4", video="gifs/tumblr_cc3o1_400.gif", question="What does the man do 3 times ?",
            candidates=("flap wings", "push cheek, then nod", "blink", "snap fingrs", "hold ball"), answer=4,
            groups={"task": "action"},
        ),
        Item(
            id="ACTION12", video="gifs/tumblr_dd4o1_250.gif", question="What does the cat do 10 or more than 10 times ?",
            candidates=("lick", "lick", "stab", "tell someone's name", "sit"), answer=0, groups={"task": "action"},
        ),
        Item(
            id="TRANS1", video="gifs/tumblr_cc3o1_400.gif", question="What does the man do before smile ?",
            candidates=("frown", "run", "jump", "sit", "wave"), answer=1, groups={"task": "transition"},
        ),
        Item(
            id="COUNT2", video="gifs/tumblr_ee5o1_400.gif", question="How many times does the dog turn ?",
            answers=("10",), groups={"task": "count"},
        ),
        Item(
            id="COUNT9", video="gifs/tumblr_ee5o1_400.gif", question="How many times does the dog bark ?",
            answers=("0",), groups={"task": "count"},
        ),
        Item(
            id="FRAMEQA3", video="gifs/tumblr_ff6o1_500.gif", question="what is the color of the hat ?",
            answers=("blue",), groups={"task": "frameqa", "type": "color"},
        ),
        Item(
            id="FRAMEQA4", video="gifs/tumblr_ff6o1_500.gif", question="where does the man nod ?",
            answers=("room",), groups={"task": "frameqa", "type": "location"},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "first"), [("01234", 0), ("12345", 1), ("5", 1), ("1234", 0), ("0", 0)], ids=str
)  # fmt: skip
def test_the_data_say_what_the_first_option_is_called(answers: str, first: int) -> None:
    assert tgif_qa.first_index(Path("a.csv"), list(answers)) == first


def test_a_table_that_counts_from_one(golden: Golden) -> None:
    root = golden("tgif_qa", {"Test_action_question.csv": ("\t4\tACTION4", "\t5\tACTION4")})
    path = root / "Test_action_question.csv"
    path.write_text(path.read_text().replace("\t0\tACTION12", "\t1\tACTION12"))
    assert [item.answer for item in tgif_qa.read(root, ["action"])] == [4, 0]


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("action", None, r"Test_action_question\.csv: no such file"),
        ("action", ("\t4\tACTION4", "\t5\tACTION4"), r"question\.csv: expected answers .* got both 0 and 5"),
        ("action", ("\t4\tACTION4", "\t6\tACTION4"), r"csv:2: expected an index from 0 to 4 in 'answer', got '6'"),
        ("action", ("\t4\tACTION4", "\tblink\tACTION4"), r"csv:2: expected an index from 0 to 4 in 'answer', got 'blink'"),
        ("action", ("ACTION12", "ACTION4"), r"csv: the id 'ACTION4' comes twice"),
        ("action", ("\tblink", ""), r"csv:2: expected 10 columns, got 9"),
        ("action", ("gif_name\tquestion", "gif_name,question"), r"csv:1: missing \['gif_name', 'question'\]"),
        ("count", ("\t10\t", "\tten\t"), r"csv:2: expected a count in 'answer', got 'ten'"),
        ("count", ("COUNT2\t16\n", "COUNT2\t16\n\"\n"), r"csv:\d+: expected a table \(unexpected end of data\)"),
        ("frameqa", ("\t2\tFRAMEQA3", "\t4\tFRAMEQA3"), r"csv:2: expected an index from 0 to 3 in 'type', got '4'"),
    ],
)  # fmt: skip
def test_broken(golden: Golden, task: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("tgif_qa", {f"Test_{task}_question.csv": change})
    with pytest.raises(DataError, match=message):
        tgif_qa.read(root)
