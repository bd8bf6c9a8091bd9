"""EgoSchema: only questions whose answers are public, in the order of the questions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import egoschema
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]


def test_golden(golden: Golden) -> None:
    assert egoschema.read(golden("egoschema")) == [
        Item(
            id="0074f737-11cb", video="videos/0074f737-11cb.mp4", question="What is c mainly doing?",
            candidates=("Cooking.", "Sewing a hat.", "Painting.", "Reading.", "Digging."), answer=1,
        ),
        Item(
            id="00b9a0de-c59e", video="videos/00b9a0de-c59e.mp4", question="Why does c stop?",
            candidates=("Hunger.", "Rain.", "A call.", "Noise.", "Dusk."), answer=4,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("questions.json", None, r"questions\.json: no such file"),
        ("subset_answers.json", None, r"subset_answers\.json: no such file"),
        (
            "subset_answers.json",
            ("cb", "cc"),
            r"subset_answers\.json: expected a question '0074f737-11cc' in .*, got none",
        ),
        ("subset_answers.json", (": 4", ": 5"), r"answers\.json: '00b9a0de-c59e': expected an index from 0 to 4"),
        ("subset_answers.json", ("00b9a0de-c59e", "0074f737-11cb"), r"json:1: the key '0074f737-11cb' comes twice"),
        ("subset_answers.json", ("{", "[{"), r"subset_answers\.json:\d: expected JSON"),
        (
            "questions.json",
            ("aaaa-bbbb", "0074f737-11cb"),
            r"questions\.json:\d+: row 2: the id '0074f737-11cb' comes twice",
        ),
        (
            "questions.json",
            ('"question": "Why does c stop?", ', ""),
            r"questions\.json:\d+: row 3: expected text in 'question'",
        ),
        ("questions.json", ('"option 4"', '"option 5"'), r"questions\.json:\d+: row 1: missing \['option 4'\]"),
    ],
)
def test_broken(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("egoschema", {file: change})
    with pytest.raises(DataError, match=message):
        egoschema.read(root)


def test_answers_are_an_object(golden: Golden) -> None:
    root = golden("egoschema")
    (root / "subset_answers.json").write_text("[1, 4]")
    with pytest.raises(DataError, match=r"subset_answers\.json:1: expected a JSON object with at least one key"):
        egoschema.read(root)
