"""Controls show what they say: nothing, or another video, and never the same two clips in another order."""

import pytest

from training.data.jsonl import DataError
from training.evaluation.controls import Question, derange, name_parts, shown_videos


def ask(video: str, *candidates: str, id: str = "") -> Question:
    return Question(
        id=id or video, video=video, question="What?", candidates=candidates or (f"is {video}", "is not"), answer=0
    )


def joined_clips(pairs: int) -> list[Question]:
    return [
        ask(f"order/{i:02}{order}.mp4", f"clip {i}", f"clip {i + 50}") for i in range(pairs) for order in ("ab", "ba")
    ]


@pytest.mark.parametrize("seed", range(20))
def test_wrong_video_is_a_derangement_of_the_distinct_videos(seed: int) -> None:
    questions = [ask(f"{name}.mp4", id=f"{name}{i}") for name in ("ant", "bee", "cow", "dog", "elk") for i in range(3)]
    shown = shown_videos("wrong_video", questions, seed=seed)
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
def test_too_few_videos_are_an_error_that_says_what_to_do(questions: list[Question]) -> None:
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
    assert shown_videos("full", questions, seed=0) == {"a.mp4": "a.mp4", "b.mp4": "b.mp4"}
    assert shown_videos("no_video", questions, seed=0) == {"a.mp4": None, "b.mp4": None}
    with pytest.raises(KeyError, match="Known controls: full, no_video, wrong_video"):
        shown_videos("blind", questions, seed=0)
