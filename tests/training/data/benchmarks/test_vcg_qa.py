"""Short open questions: two files joined by id whatever their order, and the older single file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.benchmarks import vcg_qa
from training.data.items import Item
from training.data.jsonl import DataError

Golden = Callable[..., Path]


def test_golden_questions_and_answers_in_different_orders(golden: Golden) -> None:
    assert vcg_qa.read(golden("vcg_qa/activitynet_qa"), "activitynet_qa") == [
        Item(
            id="v_fQ1x_-2toA_3", video="all_test/v_fQ1x_-2toA.mp4", question="is the man in the boat wearing a hat",
            answers=("yes",), groups={"type": "yes/no"},
        ),
        Item(
            id="v_v_Uz0abc9Q_1", video="all_test/v_v_Uz0abc9Q.mp4", question="what is behind the tent",
            answers=("forest",), groups={"type": "location"},
        ),
        Item(
            id="v_fQ1x_-2toA_10", video="all_test/v_fQ1x_-2toA.mp4", question="how many oars are there",
            answers=("2",), groups={"type": "number"},
        ),
    ]  # fmt: skip


def test_golden_ids_may_be_numbers_in_one_file_and_text_in_the_other(golden: Golden) -> None:
    assert vcg_qa.read(golden("vcg_qa/tgif_qa"), "tgif_qa") == [
        Item(
            id="7", video="mp4/tumblr_aa1o1_400.mp4", question="what is the color of the kite ?", answers=("red",),
            groups={"type": "color"},
        ),
        Item(
            id="8", video="mp4/tumblr_bb2o1_250.mp4", question="how many cats wave ?", answers=("two",),
            groups={"type": "number"},
        ),
    ]  # fmt: skip


def test_golden_original_msvd(golden: Golden) -> None:
    assert vcg_qa.read(golden("vcg_qa/msvd_qa"), "msvd_qa") == [
        Item(id="30933", video="videos/mv89psg6zh4_33_46.mp4", question="who opened the box?", answers=("someone",)),
        Item(id="30934", video="videos/-4wsuPqq_5_15.mp4", question="what does a man do?", answers=("slice",)),
    ]


def test_golden_original_msrvtt(golden: Golden) -> None:
    assert vcg_qa.read(golden("vcg_qa/msrvtt_qa"), "msrvtt_qa") == [
        Item(
            id="158581", video="videos/all/video6513.mp4", question="what are three people sitting on?",
            answers=("couch",),
        ),
        Item(id="158582", video="videos/all/video6513.mp4", question="what is a family having?", answers=("show",)),
    ]  # fmt: skip


def test_golden_other_spellings(golden: Golden) -> None:
    assert vcg_qa.read(golden("vcg_qa/spelled_otherwise"), "msrvtt_qa") == [
        Item(id="5", video="videos/all/video7010.mp4", question="who pours milk?", answers=("chef",)),
        Item(id="6", video="videos/all/video7011.mp4", question="what runs?", answers=("dog",)),
    ]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "mov"])
def test_videos_are_found_by_what_is_there(golden: Golden, suffix: str) -> None:
    root = golden("vcg_qa/activitynet_qa")
    (root / "videos").mkdir()
    (root / f"videos/v_fQ1x_-2toA.{suffix}").touch()
    (root / f"videos/v_Uz0abc9Q.{suffix}").touch()  # a name that begins with v_ by itself
    assert [item.video for item in vcg_qa.read(root, "activitynet_qa")] == [
        f"videos/v_fQ1x_-2toA.{suffix}", f"videos/v_Uz0abc9Q.{suffix}", f"videos/v_fQ1x_-2toA.{suffix}",
    ]  # fmt: skip


def test_msvd_without_the_names_of_its_clips(golden: Golden) -> None:
    root = golden("vcg_qa/msvd_qa", {"youtube_mapping.txt": None})
    (root / "video").mkdir()
    (root / "video/vid1451.avi").touch()
    assert [item.video for item in vcg_qa.read(root, "msvd_qa")] == ["video/vid1451.avi", "videos/vid1301.mp4"]


def test_a_shorter_list_of_questions_keeps_its_answers(golden: Golden) -> None:
    root = golden("vcg_qa/activitynet_qa")
    questions = json.loads((root / "test_q.json").read_text())
    (root / "test_q.json").write_text(json.dumps(questions[2:]))
    assert [item.answers for item in vcg_qa.read(root, "activitynet_qa")] == [("2",)]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("test_q.json", None, r"test_q\.json: no such file\."),
        ("test_a.json", None, r"test_a\.json: no such file\."),
        (
            "test_a.json",
            ("toA_10", "toA_11"),
            r"test_q\.json:\d+: row 3: expected an answer to 'v_fQ1x_-2toA_10' in .*test_a",
        ),
        (
            "test_a.json",
            ("toA_10", "toA_3"),
            r"test_a\.json:\d+: row 3: the id 'v_fQ1x_-2toA_3' comes twice, first in .*json:\d+: row 1",
        ),
        (
            "test_q.json",
            ("toA_10", "toA_3"),
            r"test_q\.json:\d+: row 3: the id 'v_fQ1x_-2toA_3' comes twice, first in .*json:\d+: row 1",
        ),
        (
            "test_a.json",
            ('"answer": "yes"', '"answer": ""'),
            r"test_a\.json:\d+: row 3: expected a name or a number in 'answer'",
        ),
        (
            "test_q.json",
            ('"question_id": "v_v', '"qid": "v_v'),
            r"test_q\.json:\d+: row 2: expected a name .* in 'question_id'",
        ),
        ("test_q.json", ("[{", '["x", {'), r"test_q\.json:1: expected a JSON object, got str: x"),
        ("test_q.json", ("[{", "[{]"), r"test_q\.json:1: expected a list of JSON objects \(Expecting"),
    ],
)
def test_broken(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("vcg_qa/activitynet_qa", {file: change})
    with pytest.raises(DataError, match=message):
        vcg_qa.read(root, "activitynet_qa")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("test_qa.json", None, r"test_q\.json: no such file, nor test_qa\.json\."),
        ("test_qa.json", ("30934", "30933"), r"test_qa\.json:\d+: row 2: the id '30933' comes twice"),
        (
            "test_qa.json",
            ("1301", "1302"),
            r"test_qa\.json:\d+: row 2: expected a number whose name 'vid1302' is in youtube_map",
        ),
        (
            "youtube_mapping.txt",
            ("vid1451", "vid1301"),
            r"youtube_mapping\.txt:2: expected the name of a clip and a new",
        ),
        ("youtube_mapping.txt", (" vid1451", ""), r"youtube_mapping\.txt:2: expected the name of a clip and a new"),
    ],
)
def test_broken_original(golden: Golden, file: str, change: tuple[str, str] | None, message: str) -> None:
    root = golden("vcg_qa/msvd_qa", {file: change})
    with pytest.raises(DataError, match=message):
        vcg_qa.read(root, "msvd_qa")
