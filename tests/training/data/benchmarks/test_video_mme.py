"""Video-MME: lettered options, two ids that must not be mixed up, subtitles on request, JSONL or parquet."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from training.data.benchmarks import video_mme
from training.data.benchmarks.subtitles import on_screen
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]

LIFE = {"duration": "short", "domain": "Life Record", "sub_category": "Food"}
ITEMS = [
    Item(
        id="002-1", video="data/zz9-Plural_Z.mp4", question="How many moons are drawn?",
        candidates=("1.", "2.", "3.", "4."), answer=2,
        groups={
            "duration": "long", "domain": "Knowledge", "sub_category": "Astronomy", "task_type": "Counting Problem",
        },
    ),
    Item(
        id="001-1", video="data/ab1_Cd-2.mp4", question="What stands on the table?",
        candidates=("Candles", "A jar, and a spoon", "Bread.", "Nothing."), answer=1,
        groups=LIFE | {"task_type": "Object Recognition"},
    ),
    Item(
        id="001-2", video="data/ab1_Cd-2.mp4",
        question="In which order are the things put away?\n(a) jar.\n(b) spoon.",
        candidates=("(a)(b).", "(b)(a).", "Together.", "Never."), answer=0,
        groups=LIFE | {"task_type": "Temporal Reasoning"},
    ),
]  # fmt: skip


def test_golden(golden: Golden) -> None:
    root = golden("video_mme")
    assert (root / "test.jsonl").read_bytes().startswith(b"\xef\xbb\xbf{"), "the miniature has a byte-order mark"
    assert video_mme.read(root) == ITEMS


def test_subtitles_keep_their_times(golden: Golden) -> None:
    """All that is said in an hour is too much to read; who shows the frames knows when they are."""
    spoken = ((1.0, 2.5, "Here is the jar,"), (63.25, 3604.0, "and there goes the spoon."))
    items = video_mme.read(golden("video_mme"), subtitles=True)
    assert items == [
        replace(item, timed_context=lines) for item, lines in zip(ITEMS, [(), spoken, spoken], strict=True)
    ]
    assert {item.context for item in items} == {""}
    assert on_screen(items[1].timed_context, [0.5, 2.0, 90.0]) == "Here is the jar,\nand there goes the spoon."
    assert on_screen(items[0].timed_context, [0.5, 2.0, 90.0]) == ""


def test_videos_are_found_by_what_is_there(golden: Golden) -> None:
    root = golden("video_mme")
    (root / "videos").mkdir()
    (root / "data").mkdir()
    (root / "videos/ab1_Cd-2.mkv").touch()
    (root / "data/zz9-Plural_Z.MP4").touch()
    (root / "data/001.mp4").touch()  # video_id is not the name of a file
    assert {item.video for item in video_mme.read(root)} == {"videos/ab1_Cd-2.mkv", "data/zz9-Plural_Z.MP4"}


def test_parquet_holds_the_same(golden: Golden) -> None:
    root = golden("video_mme")
    rows = [json.loads(line) for line in (root / "test.jsonl").read_text(encoding="utf-8-sig").splitlines()]
    (root / "test.jsonl").unlink()
    (root / "videomme").mkdir()
    path = root / "videomme/test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert video_mme.read(root) == ITEMS
    parquet.write_table(pyarrow.Table.from_pylist(rows).drop_columns(["videoID"]), path)
    with pytest.raises(DataError, match=r"parquet: missing \['videoID'\]"):
        video_mme.read(root)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"parquet: expected a parquet file"):
        video_mme.read(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"test-00000-of-00001\.parquet: no such file, nor videomme/.*, nor test\.jsonl, nor test\.json"),
        (('"answer": "C"', '"answer": "E"'), r"jsonl:1: row 1: expected a letter of ABCD in 'answer', got 'E'"),
        (('"answer": "C"', '"answer": "AB"'), r"jsonl:1: row 1: expected a letter of ABCD in 'answer', got 'AB'"),
        (('"C. 3."', '"D. 3."'), r"jsonl:1: row 1: expected an option that begins with 'C\. ' in 'options'"),
        (('"C. 3."', '"C. "'), r"jsonl:1: row 1: expected an option that begins with 'C\. '"),
        (("001-2", "001-1"), r"jsonl: the id '001-1' comes twice"),
        (('"videoID": "zz9-Plural_Z", ', ""), r"jsonl:1: row 1: missing \['videoID'\]"),
        (('"answer": "B"}', '"answer": "B"'), r"jsonl:2: expected one JSON object a line"),
    ],
)
def test_broken(golden: Golden, change: tuple[str, str] | None, message: str) -> None:
    root = golden("video_mme", {"test.jsonl": change})
    with pytest.raises(DataError, match=message):
        video_mme.read(root)
