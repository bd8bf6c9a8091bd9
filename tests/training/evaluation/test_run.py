"""The bookkeeping of a run: what is computed once, what is counted, and what a failure costs.

A stand-in for the model is enough for that; what a model makes of videos is tested in test_command.py, with mini.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bridge.generate import UnanswerableError
from bridge.likelihood import OptionScores
from tests.training.evaluation.fakes import ROWS, FakeScorer, examine, rows_of
from training.data.items import Item
from training.evaluation.answers import Answer
from training.evaluation.benchmarks import Benchmark, choices
from training.evaluation.controls import CONTROLS
from training.evaluation.run import RunConfig, UsageError, run
from training.evaluation.scorer import Seen

Write = Callable[..., Path]


def test_summary_and_rows(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    examine(data, fake_scorer)
    summary = json.loads((data.parent / "run/summary.json").read_text())
    assert list(summary) == ["full", "no_video", "wrong_video"]
    full = summary["full"]
    assert {key: full[key] for key in ("accuracy", "ci95", "n", "failed", "unparsed")} == {
        "accuracy": 1.0, "ci95": pytest.approx([0.438, 1.0], abs=1e-3), "n": 6, "failed": 0, "unparsed": 0,
    }, "of three videos that are all right"  # fmt: skip
    assert {name: score["value"] for name, score in full["scores"].items()} == {
        "corrected": 1.0,
        "length_normalised": 1.0,
        "raw": pytest.approx(4 / 6),
    }, "of the sums, that of the short bread is higher than that of the right apple pie"
    assert summary["no_video"]["accuracy"] == pytest.approx(1 / 3), "without the video all options are alike: the first"
    assert summary["wrong_video"]["accuracy"] == 0.0
    row = next(row for row in rows_of(data) if row["id"] == "b0" and row["control"] == "full")
    assert row == {
        "id": "b0", "control": "full", "video": "b.mp4", "answer": 1, "predicted": 1, "status": "ok",
        "log_likelihood": [-18.0, -5.0, -8.0], "log_likelihood_no_video": [-18.0, -10.0, -8.0], "tokens": [9, 5, 4],
    }  # fmt: skip
    wrong = {row["id"]: row["video"] for row in rows_of(data) if row["control"] == "wrong_video"}
    assert all(video is not None and video[0] != id[0] for id, video in wrong.items())
    assert {row["video"] for row in rows_of(data) if row["control"] == "no_video"} == {None}


def test_every_video_is_watched_once_and_options_without_video_are_scored_once(
    write_questions: Write, fake_scorer: FakeScorer
) -> None:
    examine(write_questions(), fake_scorer)
    assert sorted(fake_scorer.watched) == ["a.mp4", "b.mp4", "c.mp4"]
    assert sum(not with_video for _, with_video in fake_scorer.scored) == 2, "two different questions, same candidates"
    assert sum(with_video for _, with_video in fake_scorer.scored) == 12


def test_an_undecodable_video_fails_its_items_and_no_other(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    fake_scorer.broken = {"b.mp4"}
    report = examine(data, fake_scorer)
    assert report.summaries["full"]["failed"] == 2
    assert report.summaries["full"]["accuracy"] == pytest.approx(4 / 6), "failed items stay in the denominator"
    assert report.summaries["no_video"]["failed"] == 0
    assert report.summaries["wrong_video"]["failed"] == 2
    failed = [row for row in rows_of(data) if row["status"] == "failed"]
    assert {row["video"] for row in failed} == {"b.mp4"}
    assert {row["id"] for row in failed if row["control"] == "full"} == {"b0", "b1"}
    for row in failed:
        assert row["predicted"] is None
        assert row["log_likelihood"] == row["log_likelihood_no_video"] == row["tokens"] == []
        assert row["reason"] == "this file is not a video."


def test_likelihoods_that_are_not_finite_are_a_failure_not_a_wrong_answer(
    write_questions: Write, fake_scorer: FakeScorer
) -> None:
    fake_scorer.score = lambda question, options, seen: OptionScores(
        log_likelihood=[float("nan")] * len(options), tokens=[1] * len(options)
    )
    report = examine(write_questions(), fake_scorer, controls=("full",))
    assert report.summaries["full"]["failed"] == 6


def test_numbers_that_are_not_finite_fail_a_written_answer_too(write_questions: Write, fake_scorer: FakeScorer) -> None:
    """A model whose numbers broke down writes "!!!!!!": that was scored as merely wrong."""

    def broken(question: str, seen: Seen, max_new_tokens: int) -> str:
        raise UnanswerableError("the language model's numbers are not finite.")

    fake_scorer.answer = broken
    rows = [{"id": name, "video": f"{name}.mp4", "question": "What?", "answer": "pie"} for name in "abc"]
    report = examine(write_questions(rows), fake_scorer, name="open_qa", controls=("full",))
    assert (report.summaries["full"]["failed"], report.summaries["full"]["unparsed"]) == (3, 0)


def test_running_out_of_memory_costs_one_item(write_questions: Write, fake_scorer: FakeScorer) -> None:
    watch = fake_scorer.watch

    def hungry(pixels: Tensor, branch: bool) -> Seen:
        if int(pixels[0, 0, 1, 1]) == ord("b"):
            raise torch.OutOfMemoryError("tried to allocate 2 TiB")
        return watch(pixels, branch=branch)

    fake_scorer.watch = hungry
    report = examine(write_questions(), fake_scorer, controls=("full",))
    assert (report.summaries["full"]["failed"], report.summaries["full"]["accuracy"]) == (2, pytest.approx(4 / 6))


def test_what_the_video_adds_is_no_score_without_a_video(write_questions: Write, fake_scorer: FakeScorer) -> None:
    report = examine(write_questions(), fake_scorer)
    assert report.summaries["no_video"]["scores"].keys() == {"length_normalised", "raw"}


def test_every_control_shows_what_it_says(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    examine(data, fake_scorer, controls=tuple(CONTROLS), letters=True)
    assert sorted(fake_scorer.watched) == ["a.mp4", "b.mp4", "c.mp4"], "read once for all controls"
    of_one = fake_scorer.encoded[: len(fake_scorer.encoded) // 3]
    whole, alone, mixed, backwards, off = sorted(
        of_one, key=lambda e: (not e[1], e[0] != [0, 1, 2, 3], len(e[0]), e[0])
    )
    assert (whole, alone, off) == (([0, 1, 2, 3], True), ([2], True), ([0, 1, 2, 3], False))
    assert {tuple(mixed[0]), tuple(backwards[0])} > {(3, 2, 1, 0)}
    assert sorted(mixed[0]) == sorted(backwards[0]) == [0, 1, 2, 3]
    withheld = [question for question, _ in fake_scorer.scored if question == "Which is right?"]
    assert len(withheld) == 1 + 6, "once without a video, and beside each question's own"
    for row in rows_of(data):
        if row["control"] == "options_shuffled":
            full = next(r for r in rows_of(data) if r["id"] == row["id"] and r["control"] == "full")
            same = ("answer", "predicted", "log_likelihood", "log_likelihood_no_video", "tokens")
            assert {key: row[key] for key in same} == {key: full[key] for key in same}


def test_a_control_that_would_ask_the_same_again_is_refused(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    with pytest.raises(UsageError, match="Add --letters"):
        examine(data, fake_scorer, controls=("full", "options_shuffled"))
    data = write_questions([{"video": "a.mp4", "subject": ["x"], "action": ["y"]}])
    with pytest.raises(UsageError, match="these questions have none"):
        examine(data, fake_scorer, name="describe", controls=("question_withheld",))


def test_letters_are_read_by_the_parser_and_counted_apart(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    fake_scorer.answer = lambda question, seen, max_new_tokens: {"a": "(A)", "b": "Not sure.", "c": "(A)"}[
        chr(int(seen.tokens.item()))
    ]
    report = examine(data, fake_scorer, controls=("full", "options_shuffled"), letters=True)
    scores = report.summaries["full"]["scores"]
    assert scores["letter"]["value"] == pytest.approx(2 / 6)
    assert scores["letter_unparsed"]["value"] == pytest.approx(2 / 6)
    assert report.summaries["full"]["accuracy"] == 1.0
    assert report.gaps["options_shuffled"].keys() == {"accuracy", "letter"}
    for row in rows_of(data):
        if row["control"] == "options_shuffled" and row["generated"] == "(A)":
            assert row["parsed"] not in (0, None), "the first option put was not the first of the item"


def test_open_answers_must_be_equal_and_silence_is_counted_apart(
    write_questions: Write, fake_scorer: FakeScorer
) -> None:
    data = write_questions(
        [
            {
                "id": name,
                "video": f"{name}.mp4",
                "question": "What is it?",
                "answer": answer,
                "answers": [answer, "pastry"],
            }
            for name, answer in zip("abc", ("apple pie", "loaf of the bread", "cheese"), strict=True)
        ]
    )
    report = examine(data, fake_scorer, name="open_qa")
    assert report.summaries["full"]["accuracy"] == pytest.approx(2 / 3), "containment does not count"
    assert report.summaries["no_video"]["accuracy"] == 0
    assert report.summaries["no_video"]["unparsed"] == 3
    assert report.summaries["no_video"]["failed"] == 0
    assert fake_scorer.answered[0] == "What is it? Answer with one word or a short phrase."
    row = next(row for row in rows_of(data) if row["id"] == "a" and row["control"] == "full")
    assert row == {"id": "a", "control": "full", "video": "a.mp4", "prediction": "An apple pie.", "status": "ok"}


def test_descriptions_are_also_held_against_the_keywords_of_other_videos(
    write_questions: Write, fake_scorer: FakeScorer
) -> None:
    keys = {"a": (["apple"], ["pie"]), "b": (["bread", "loaf"], ["bake"]), "c": (["chee"], ["eat"])}
    data = write_questions(
        [{"video": f"{name}.mp4", "subject": subject, "action": action} for name, (subject, action) in keys.items()]
    )
    fake_scorer.broken = {"c.mp4"}
    report = examine(data, fake_scorer, name="describe", controls=("full",))
    full, shifted = report.summaries["full"], report.summaries["shifted"]
    assert {key: full[key] for key in ("subject", "action", "both", "n", "failed")} == {
        "subject": pytest.approx(2 / 3), "action": pytest.approx(1 / 3), "both": pytest.approx(1 / 3), "n": 3, "failed": 1,
    }  # fmt: skip
    assert shifted["subject"] == 0
    assert shifted["failed"] == 1


def test_the_page_shows_frames_and_keeps_text_text(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions([ROWS[0] | {"question": "</script><b>who? __TABLES__ __ROWS__"}, *ROWS[1:]])
    examine(data, fake_scorer)
    page = (data.parent / "run/report.html").read_text()
    assert page.count("</script>") == page.count("<script") == 1
    rows = json.loads(page.split("const rows = ")[1].split(";\n")[0])
    assert {row["verdict"] for row in rows} == {"right", "wrong"}
    assert all((data.parent / "run" / row["frames"]).exists() for row in rows if row["frames"])
    assert [row["times"] for row in rows if row["frames"]] == [[0.0, 1.0, 2.0, 3.0]] * 12
    assert page.count("<h1>") == page.count("<nav>") == 1
    assert all(abs(sum(option["share"] for option in row["options"]) - 1) < 1e-9 for row in rows)


def test_lines_on_screen_are_those_of_the_own_video_whatever_is_shown(tmp_path: Path, fake_scorer: FakeScorer) -> None:
    items = []
    for i, name in enumerate("abc"):
        (tmp_path / f"{name}.mp4").write_text(name)
        lines = ((0.0, 0.5, f"{name} begins"), (2.5, 3.5, f"{name} ends"), (3.5, 9.0, "after the last frame"))
        items.append(
            Item(
                id=name, video=f"{name}.mp4", question="What?", candidates=("apple", "bread", "cake"), answer=i,
                timed_context=lines,
            )
        )  # fmt: skip
    benchmark = Benchmark(name="subtitled", read=lambda path: items, exam=choices("plain"))
    run(benchmark, RunConfig(data=tmp_path, output=tmp_path / "run"), load=lambda name: fake_scorer)
    spoken = [f"{name} begins\n{name} ends\nWhat?" for name in "abc"]
    for with_video, times in ((True, 2), (False, 1)):  # its own and a wrong one; once without, for all controls
        assert sorted(q for q, seen in fake_scorer.scored if seen == with_video) == sorted(spoken * times)


def test_what_was_found_out_beside_words_on_screen_is_not_taken_for_the_bare_question(
    write_questions: Write, fake_scorer: FakeScorer
) -> None:
    exam = choices("plain")(fake_scorer, False)
    plain = Item(id="a", video="a.mp4", question="What?", candidates=("apple", "bread"), answer=0)
    values = {"log_likelihood_no_video": [-9.0, -1.0], "tokens": [1, 1]}
    answer = Answer(id="a", control="full", video="a.mp4", values=values, status="ok")
    exam.recall([replace(plain, timed_context=((0.0, 1.0, "Look."),))], [answer])
    assert exam.blind == {}
    exam.recall([plain], [answer])
    assert [scores.log_likelihood for scores in exam.blind.values()] == [[-9.0, -1.0]]


def test_a_broken_video_moves_no_gap(write_questions: Write, tmp_path: Path) -> None:
    """A scorer that is right with and without the video gains nothing by it, whatever cannot be read."""

    class Knowing(FakeScorer):
        def score(self, question: str, options: Sequence[str], seen: Seen) -> OptionScores:
            return OptionScores(log_likelihood=[-1.0, -2.0, -3.0], tokens=[1, 1, 1])

    data = write_questions([row | {"answer": 0} for row in ROWS])
    report = examine(data, Knowing(broken={"b.mp4"}), controls=("full", "no_video"))
    assert (report.summaries["full"]["accuracy"], report.summaries["full"]["failed"]) == (pytest.approx(4 / 6), 2)
    answered = report.summaries["full"]["scores"]["accuracy, not failed"]
    assert (answered["value"], answered["n"]) == (1.0, 4)
    gap, (low, high), n = report.gaps["no_video"]["accuracy"]
    assert (gap, low, high, n) == (0.0, 0.0, 0.0, 4)
    nothing = examine(data, Knowing(broken={"a.mp4", "b.mp4", "c.mp4"}), output="none", controls=("full", "no_video"))
    assert nothing.gaps["no_video"] == {}


def test_letters_that_say_nothing_are_counted(write_questions: Write) -> None:
    class Mumbling(FakeScorer):
        def answer(self, question: str, seen: Seen, *, max_new_tokens: int) -> str:
            return "Hm."

    report = examine(write_questions(), Mumbling(broken={"b.mp4"}), letters=True, controls=("full",))
    full = report.summaries["full"]
    assert (full["unparsed"], full["failed"]) == (4, 2)
    assert (full["scores"]["letter_unparsed"]["value"], full["scores"]["letter_unparsed"]["n"]) == (1.0, 4)


def test_every_video_is_shuffled_in_its_own_way(write_questions: Write, fake_scorer: FakeScorer) -> None:
    examine(write_questions(), fake_scorer, controls=("shuffled",))
    orders = {tuple(value - first[0] for value in first) for first, _ in fake_scorer.encoded}
    assert len(orders) > 1
