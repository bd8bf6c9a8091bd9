"""The bookkeeping of a run: what is computed once, what is counted, what survives a kill.

A stand-in scorer is enough for that; what a model makes of videos is tested in test_command.py, with mini.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bridge.generate import OptionScores, UnanswerableError
from tests.training.evaluation.fakes import FakeScorer
from training.data.jsonl import DataError
from training.evaluation.answers import ResumeError, lock
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.compare import compare
from training.evaluation.controls import CONTROLS
from training.evaluation.merge import merge
from training.evaluation.report import Report
from training.evaluation.run import RunConfig, UsageError, run
from training.evaluation.scorer import Seen

Write = Callable[..., Path]

ROWS = [
    {
        "id": f"{name}{i}",
        "video": f"{name}.mp4",
        "question": f"What is shown, part {i}?",
        "candidates": ["apple pie", "bread", "cake"],
        "answer": answer,
    }
    for answer, name in enumerate("abc")
    for i in range(2)
]


@pytest.fixture
def fake_scorer() -> FakeScorer:
    return FakeScorer()


@pytest.fixture
def write_questions(tmp_path: Path) -> Write:
    """Write rows as questions.jsonl; by default three videos with two questions each, all of them right when seen."""

    def write(rows: list[dict] | None = None) -> Path:
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)))
        for name in "abc":
            (tmp_path / f"{name}.mp4").write_text(name)
        return path

    return write


def examine(data: Path, scorer: FakeScorer, *, name: str = "mcq", output: str = "run", **settings: object) -> Report:
    config = RunConfig(data=data, output=data.parent / output, **settings)
    return run(benchmark_by_name(name), config, load=lambda model: scorer)


def rows_of(data: Path) -> list[dict]:
    return [json.loads(line) for line in (data.parent / "run/answers.jsonl").read_text().splitlines()]


def test_summary_and_rows(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    examine(data, fake_scorer)
    summary = json.loads((data.parent / "run/summary.json").read_text())
    assert list(summary) == ["full", "no_video", "wrong_video"]
    full = summary["full"]
    assert {key: full[key] for key in ("accuracy", "ci95", "n", "failed", "unparsed")} == {
        "accuracy": 1.0, "ci95": [1.0, 1.0], "n": 6, "failed": 0, "unparsed": 0,
    }  # fmt: skip
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


def test_a_replaced_video_is_asked_about_again(write_questions: Write) -> None:
    data = write_questions()
    examine(data, FakeScorer())
    data.with_name("b.mp4").write_text("another film")
    again = FakeScorer()
    examine(data, again)
    assert again.watched == ["b.mp4"]
    assert len(again.scored) == 4, "its two questions, and those that saw it as a wrong video"
    shown = [json.loads(line) for line in (data.parent / "run/videos.jsonl").read_text().splitlines()]
    assert len(shown) == len({row["picture"] for row in shown}) == 3
    untouched = FakeScorer()
    examine(data, untouched)
    assert untouched.watched == []


def test_two_runs_never_write_in_one_folder(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    (tmp_path / "run").mkdir()
    held = lock(tmp_path / "run")
    with pytest.raises(ResumeError, match="another run is writing"):
        examine(data, FakeScorer())
    held.close()
    examine(data, FakeScorer())


def test_a_run_notes_every_start(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    examine(data, FakeScorer(), controls=("full",))
    examine(data, FakeScorer(), controls=("no_video",))
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert [start["controls"] for start in manifest["sessions"]] == [["full"], ["no_video"]]
    assert manifest["sessions"][0]["precision"] == "pencil and paper"


def test_more_parts_than_videos_are_refused(write_questions: Write) -> None:
    with pytest.raises(DataError, match="at least 4 videos"):
        examine(write_questions(), FakeScorer(), shard=(1, 4))


def test_an_unfinished_part_is_not_merged(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    with pytest.raises(KeyboardInterrupt):
        examine(data, FakeScorer(die_after=5))
    with pytest.raises(ResumeError, match="are missing, the first to"):
        merge([tmp_path / "run"], tmp_path / "whole")
    examine(data, FakeScorer(), output="other", seed=1)
    examine(data, FakeScorer())
    with pytest.raises(ResumeError, match="holds another run"):
        merge([tmp_path / "run"], tmp_path / "other")


@pytest.mark.parametrize(
    "row", ["3", "[]", '{"id": "a0"}', '{"id": "a0", "control": "full", "video": null, "status": "maybe"}']
)
def test_a_line_that_is_no_answer_is_named(write_questions: Write, tmp_path: Path, row: str) -> None:
    data = write_questions()
    examine(data, FakeScorer())
    with (tmp_path / "run/answers.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ResumeError, match=r"answers\.jsonl:19: not a row of answers"):
        examine(data, FakeScorer())


@pytest.mark.parametrize("killed_after", [0, 1, 5, 13])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(
    write_questions: Write, tmp_path: Path, killed_after: int
) -> None:
    data = write_questions()
    dying = FakeScorer(die_after=killed_after)
    with pytest.raises(KeyboardInterrupt):
        examine(data, dying)
    answers = data.parent / "run/answers.jsonl"
    with answers.open("a") as file:
        file.write('{"id": "torn')
    rest = FakeScorer()
    examine(data, rest)
    assert len(dying.scored) + len(rest.scored) == 14, "nothing is scored twice"
    resumed = sorted(map(json.dumps, rows_of(data))), (data.parent / "run/summary.json").read_text()
    answers.unlink()
    (data.parent / "run/run.json").unlink()
    examine(data, FakeScorer())
    assert resumed == (sorted(map(json.dumps, rows_of(data))), (data.parent / "run/summary.json").read_text())


def test_a_finished_run_computes_nothing_again_but_tries_failed_items_again(
    write_questions: Write, tmp_path: Path
) -> None:
    data = write_questions()
    examine(data, FakeScorer(broken={"b.mp4"}))
    repaired = FakeScorer()
    report = examine(data, repaired)
    assert repaired.watched == ["b.mp4"]
    assert report.summaries["full"]["failed"] == 0
    again = FakeScorer()
    examine(data, again)
    assert (again.watched, again.scored) == ([], [])
    assert len(rows_of(data)) == 18


def test_a_run_may_be_widened_by_a_control(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    assert list(examine(data, fake_scorer, controls=("full",)).summaries) == ["full"]
    report = examine(data, fake_scorer, controls=("wrong_video",))
    assert list(report.summaries) == ["full", "wrong_video"]
    assert report.gaps["wrong_video"]["accuracy"][0] == 1.0


@pytest.mark.parametrize("change", ["model", "seed", "data"])
def test_other_settings_are_refused_with_what_differs(write_questions: Write, change: str) -> None:
    data = write_questions()
    examine(data, FakeScorer())
    if change == "data":
        write_questions(ROWS[:-1])
    with pytest.raises(ResumeError, match=f"{change}.* was .*, is .*Choose another --output"):
        examine(data, FakeScorer(weights="w2" if change == "model" else "w1"), seed=7 if change == "seed" else 0)


def test_answers_of_unknown_origin_are_refused(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    (data.parent / "run").mkdir()
    (data.parent / "run/answers.jsonl").write_text("{}\n")
    with pytest.raises(ResumeError, match=r"no run\.json"):
        examine(data, fake_scorer)


def test_shards_merge_to_the_score_of_one_process(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    whole = examine(data, FakeScorer(broken={"b.mp4"}))
    for count in (2, 3):
        folders = [tmp_path / f"{i}of{count}" for i in range(1, count + 1)]
        for i, folder in enumerate(folders, start=1):
            examine(data, FakeScorer(broken={"b.mp4"}), output=folder.name, shard=(i, count))
        merged = merge(folders[::-1], tmp_path / f"merged{count}")
        assert merged == whole
        assert (tmp_path / f"merged{count}/summary.json").read_text() == (tmp_path / "run/summary.json").read_text()
        with pytest.raises(ResumeError, match="exactly once"):
            merge(folders[1:], tmp_path / "incomplete")


def test_a_run_is_recomputed_from_its_rows_alone(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    examine(data, FakeScorer(broken={"c.mp4"}))
    assert merge([tmp_path / "run"], tmp_path / "again").summaries["full"]["failed"] == 2
    assert (tmp_path / "again/summary.json").read_text() == (tmp_path / "run/summary.json").read_text()
    write_questions(ROWS[:-1])
    with pytest.raises(ResumeError, match="has changed"):
        merge([tmp_path / "run"], tmp_path / "later")


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


def test_a_comparison_names_what_flipped(write_questions: Write, tmp_path: Path) -> None:
    data = write_questions()
    examine(data, FakeScorer(), output="good")
    examine(data, FakeScorer(broken={"b.mp4"}, weights="w2"), output="bad")
    [found] = compare(tmp_path / "bad", tmp_path / "good")
    assert (found.a, found.b, found.n) == (pytest.approx(4 / 6), 1.0, 6)
    assert found.difference == pytest.approx(2 / 6)
    assert [(item.id, a, b) for item, a, b in found.flips] == [("b0", 0.0, 1.0), ("b1", 0.0, 1.0)]
    assert found.p_value == 1.0, "one video says nothing"
    with pytest.raises(ResumeError, match="lacks 6 answers under 'reversed'"):
        compare(tmp_path / "bad", tmp_path / "good", control="reversed")


def test_the_page_shows_frames_and_keeps_text_text(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions([ROWS[0] | {"question": "</script><b>who?"}, *ROWS[1:]])
    examine(data, fake_scorer)
    page = (data.parent / "run/report.html").read_text()
    assert page.count("</script>") == page.count("<script") == 1
    rows = json.loads(page.split("const rows = ")[1].split(";\n")[0])
    assert {row["verdict"] for row in rows} == {"right", "wrong"}
    assert all((data.parent / "run" / row["frames"]).exists() for row in rows if row["frames"])
    assert len([row for row in rows if row["frames"]]) == 12
    assert all(abs(sum(option["share"] for option in row["options"]) - 1) < 1e-9 for row in rows)
