"""The Video-ChatGPT benchmark: ids of our own, since a video has several questions, and pairs that stay together."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import video_chatgpt
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]

DISC, FIELD = "Test_Videos/v_-6dz6xx77I.mp4", "Test_Videos/v_p1QGzz.mp4"
GENERIC, TEMPORAL, CONSISTENCY = {"part": "generic"}, {"part": "temporal"}, {"part": "consistency"}


def test_golden(golden: Golden) -> None:
    assert video_chatgpt.read(golden("video_chatgpt")) == [
        Item(
            id="generic/v_-6dz6xx77I_0", video=DISC, question="What is in the video?",
            answers=("A man throws a disc.",), groups=GENERIC,
        ),
        Item(id="generic/v_p1QGzz_0", video=FIELD, question="Where is it?", answers=("On a field.",), groups=GENERIC),
        Item(
            id="generic/v_-6dz6xx77I_1", video=DISC, question="What does he wear?",
            answers=("A red shirt, and shorts.",), groups=GENERIC,
        ),
        Item(
            id="temporal/v_p1QGzz_0", video=FIELD, question="What happens last?", answers=("He bows.",),
            groups=TEMPORAL,
        ),
        Item(
            id="consistency/v_-6dz6xx77I_0/Q1", video=DISC, question="What does the man throw?", answers=("A disc.",),
            groups=CONSISTENCY,
        ),
        Item(
            id="consistency/v_-6dz6xx77I_0/Q2", video=DISC, question="Which thing flies?", answers=("A disc.",),
            groups=CONSISTENCY,
        ),
        Item(
            id="consistency/v_-6dz6xx77I_1/Q1", video=DISC, question="Is it day?", answers=("By day.",),
            groups=CONSISTENCY,
        ),
        Item(
            id="consistency/v_-6dz6xx77I_1/Q2", video=DISC, question="When is it?", answers=("By day.",),
            groups=CONSISTENCY,
        ),
    ]  # fmt: skip


def test_pairs_are_joined_by_id(golden: Golden) -> None:
    items = video_chatgpt.read(golden("video_chatgpt"))
    for seed in range(5):
        random.Random(seed).shuffle(items)
        asked = {(first.question, second.question) for first, second in video_chatgpt.pairs(items)}
        assert asked == {("What does the man throw?", "Which thing flies?"), ("Is it day?", "When is it?")}


def test_half_a_pair_is_an_error(golden: Golden) -> None:
    items = video_chatgpt.read(golden("video_chatgpt"), ["consistency"])
    with pytest.raises(
        ValueError, match=r"expected a question 'consistency/v_-6dz6xx77I_1/Q2' beside .*1/Q1', got none"
    ):
        video_chatgpt.pairs(items[:-1])


def test_question_files_may_lie_in_the_root(golden: Golden) -> None:
    root = golden("video_chatgpt")
    for path in (root / "Benchmarking_QA").iterdir():
        path.rename(root / path.name)
    assert len(video_chatgpt.read(root)) == 8


def test_every_aspect_has_its_questions() -> None:
    assert list(video_chatgpt.ASPECTS) == ["correctness", "detail", "context", "temporal", "consistency"]
    assert set(video_chatgpt.ASPECTS.values()) == set(video_chatgpt.PARTS)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("temporal_qa.json", None, r"temporal_qa\.json: no such file, nor Benchmarking_QA/temporal_qa\.json"),
        ("generic_qa.json", ('"Q": "Where', '"q": "Where'), r"generic_qa\.json:\d+: row 2: missing \['Q'\]"),
        (
            "generic_qa.json",
            ('"A": "On a field."', '"A": null'),
            r"generic_qa\.json:\d+: row 2: expected text in 'A', got None",
        ),
        ("consistency_qa.json", ('"Q2": "When is it?", ', ""), r"consistency_qa\.json:\d+: row 2: missing \['Q2'\]"),
    ],
)
def test_broken(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("video_chatgpt", {f"Benchmarking_QA/{file}": change})
    with pytest.raises(DataError, match=message):
        video_chatgpt.read(root)
