"""Controls show what they say: nothing, or another video, and never the same two clips in another order."""

from dataclasses import replace

import pytest
import torch

from training.data.items import Item
from training.data.jsonl import DataError
from training.evaluation.controls import Showing, arranged, derange, name_parts, put, showings


def ask(video: str, *candidates: str, id: str = "") -> Item:
    return Item(
        id=id or video, video=video, question="What?", candidates=candidates or (f"is {video}", "is not"), answer=0
    )


def joined_clips(pairs: int) -> list[Item]:
    return [
        ask(f"order/{i:02}{order}.mp4", f"clip {i}", f"clip {i + 50}") for i in range(pairs) for order in ("ab", "ba")
    ]


@pytest.mark.parametrize("seed", range(20))
def test_wrong_video_is_a_derangement_of_the_distinct_videos(seed: int) -> None:
    questions = [ask(f"{name}.mp4", id=f"{name}{i}") for name in ("ant", "bee", "cow", "dog", "elk") for i in range(3)]
    shown = {id: showing.video for id, showing in showings("wrong_video", questions, seed=seed).items()}
    by_video = {question.video: shown[question.id] for question in questions}
    assert all(shown[question.id] == by_video[question.video] for question in questions), (
        "one wrong video for each video"
    )
    assert set(by_video.values()) == set(by_video), "every video is shown for exactly one other"
    assert all(own != other for own, other in by_video.items())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("pairs", [2, 3, 12])
def test_joined_clips_never_get_their_other_order(pairs: int, seed: int) -> None:
    for own, other in derange(joined_clips(pairs), seed=seed).items():
        assert own[:8] != other[:8]


@pytest.mark.parametrize("seed", range(20))
def test_the_other_order_is_known_by_its_candidates_whatever_its_name(seed: int) -> None:
    questions = [
        ask(f"{name}.mp4", *options) for name, options in zip("pqrs", [("x", "y"), ("y", "x")] * 2, strict=True)
    ]
    questions[2:] = [ask("r.mp4", "u", "v"), ask("s.mp4", "v", "u")]
    wrong = derange(questions, seed=seed)
    assert {wrong["p.mp4"], wrong["q.mp4"]} == {"r.mp4", "s.mp4"}


def test_questions_with_fixed_options_do_not_make_all_videos_the_same() -> None:
    questions = [ask(f"{name}.mp4", "yes", "no") for name in ("ant", "bee", "cow")]
    assert set(derange(questions, seed=0)) == {"ant.mp4", "bee.mp4", "cow.mp4"}


def test_names_give_way_where_they_leave_nothing_to_show() -> None:
    questions = [ask("dog.mp4", "a dog", "a cat"), ask("god.mp4", "a temple", "a house")]
    assert derange(questions, seed=0) == {"dog.mp4": "god.mp4", "god.mp4": "dog.mp4"}


@pytest.mark.parametrize("questions", [[ask("a.mp4")], joined_clips(1)], ids=["one video", "one pair"])
def test_too_few_videos_are_an_error_that_says_what_to_do(questions: list[Item]) -> None:
    with pytest.raises(DataError, match="leave wrong_video out"):
        derange(questions, seed=0)


def test_the_seed_decides_and_the_order_of_questions_does_not() -> None:
    questions = [ask(f"{i}.mp4") for i in range(30)]
    assert derange(questions, seed=1) == derange(questions[::-1], seed=1)
    assert derange(questions, seed=1) != derange(questions, seed=2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("order/00ab.mp4", "order/00ba.mp4", True),
        ("dog_then_cat.mp4", "cat_then_dog.mp4", True),
        ("12_34.mp4", "34_12.mp4", True),
        ("clip12.mp4", "clip21.mp4", False),
        ("00ab.mp4", "01ba.mp4", False),
        ("x/00ab.mp4", "y/00ba.mp4", False),
    ],
)
def test_name_parts(one: str, other: str, same: bool) -> None:
    assert (name_parts(one) == name_parts(other)) == same


def test_full_and_no_video() -> None:
    questions = [ask("a.mp4"), ask("b.mp4")]
    assert showings("full", questions, seed=0) == {v: Showing(video=v) for v in ("a.mp4", "b.mp4")}
    assert showings("no_video", questions, seed=0) == {v: Showing(video=None) for v in ("a.mp4", "b.mp4")}
    with pytest.raises(KeyError, match="Known controls: full, no_video, wrong_video"):
        showings("blind", questions, seed=0)


def test_a_part_of_a_video_stays_that_part_and_a_wrong_video_comes_with_its_own_part() -> None:
    items = [replace(ask("a.mp4"), start=1.0, end=2.0), replace(ask("b.mp4"), start=5.0, end=9.0)]
    assert showings("full", items, seed=0)["a.mp4"] == Showing(video="a.mp4", start=1.0, end=2.0)
    assert showings("reversed", items, seed=0)["a.mp4"] == Showing(video="a.mp4", start=1.0, end=2.0, frames="reversed")
    assert showings("wrong_video", items, seed=0)["a.mp4"] == Showing(video="b.mp4", start=5.0, end=9.0)
    assert showings("branch_off", items, seed=0)["a.mp4"] == Showing(video="a.mp4", start=1.0, end=2.0, branch=False)


def test_frames_are_arranged() -> None:
    frames = torch.arange(5)
    assert arranged(frames, "all", seed=0).tolist() == [0, 1, 2, 3, 4]
    assert arranged(frames, "reversed", seed=0).tolist() == [4, 3, 2, 1, 0]
    assert arranged(frames, "single_frame", seed=0).tolist() == [2]
    for seed in range(30):
        mixed = arranged(torch.arange(2), "shuffled", seed=seed).tolist()
        assert mixed == [1, 0], "never as they were"
    assert arranged(torch.arange(1), "shuffled", seed=0).tolist() == [0]


@pytest.mark.parametrize("seed", range(10))
def test_options_turn_and_the_right_one_turns_with_them(seed: int) -> None:
    item = ask("a.mp4", "w", "x", "y", "z")
    turned, order = put("options_shuffled", item, seed=seed)
    assert turned.candidates != item.candidates
    assert sorted(turned.candidates) == sorted(item.candidates)
    assert turned.candidates[turned.answer] == "w"
    assert [item.candidates[i] for i in order] == list(turned.candidates)
    assert put("full", item, seed=seed) == (item, [0, 1, 2, 3])


def test_a_question_is_withheld_and_what_is_said_in_the_video_stays() -> None:
    asked, _ = put("question_withheld", replace(ask("a.mp4"), context="subtitles"), seed=0)
    assert (asked.question, asked.context) == ("Which is right?", "subtitles")
