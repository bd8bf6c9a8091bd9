"""The bookkeeping of multiple choice: what is computed once, what is counted, what survives a kill.

A stand-in scorer is enough for that; what a model makes of videos is tested in test_command.py, with mini.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bridge.generate import OptionScores
from encoder.video import VideoError
from training.data.jsonl import DataError
from training.evaluation.answers import ResumeError
from training.evaluation.mcq import McqConfig, blind_scores, option_scores, read_questions, run
from training.evaluation.report import Report

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


@dataclass
class FakeScorer:
    """Finds the first letter of a video's name likely in an option that begins with it. Counts what it is asked."""

    num_frames: int = 8
    weights: str = "w1"
    broken: set[str] = field(default_factory=set)
    watched: list[str] = field(default_factory=list)
    scored: list[tuple[str, bool]] = field(default_factory=list)
    die_after: int | None = None

    def fingerprint(self) -> str:
        return self.weights

    def watch(self, path: Path) -> Tensor:
        self.watched.append(path.name)
        if path.name in self.broken:
            raise VideoError("this file is not a video.")
        return torch.full((1, 1, 1), float(ord(path.name[0])))

    def score(self, question: str, options: Sequence[str], video: Tensor | None) -> OptionScores:
        if self.die_after is not None and len(self.scored) >= self.die_after:
            raise KeyboardInterrupt
        self.scored.append((question, video is not None))
        tokens = [len(option) for option in options]
        hits = [video is not None and ord(option[0]) == int(video.item()) for option in options]
        sums = [(-1.0 if hit else -2.0) * n for hit, n in zip(hits, tokens, strict=True)]
        return OptionScores(log_likelihood=sums, tokens=tokens)


@pytest.fixture
def fake_scorer() -> FakeScorer:
    return FakeScorer()


@pytest.fixture
def write_questions(tmp_path: Path) -> Write:
    """Write rows as questions.jsonl; by default three videos with two questions each, all of them right when seen."""

    def write(rows: list[dict] | None = None) -> Path:
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)))
        return path

    return write


def examine(data: Path, scorer: FakeScorer, **settings: object) -> Report:
    return run(McqConfig(data=data, output=data.parent / "run", **settings), load=lambda name: scorer)


def rows_of(data: Path) -> list[dict]:
    return [json.loads(line) for line in (data.parent / "run/answers.jsonl").read_text().splitlines()]


def test_score_is_the_gain_per_token_over_no_video() -> None:
    seen = OptionScores(log_likelihood=[-6.0, -4.0], tokens=[3, 4])
    blind = OptionScores(log_likelihood=[-9.0, -4.0], tokens=[3, 4])
    assert option_scores(seen, blind) == [1.0, 0.0]
    assert blind_scores(blind) == [-3.0, -1.0]


def test_summary_and_rows(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    examine(data, fake_scorer)
    summary = json.loads((data.parent / "run/summary.json").read_text())
    assert list(summary) == ["full", "no_video", "wrong_video"]
    assert summary["full"] == {"accuracy": 1.0, "ci95": [1.0, 1.0], "n": 6, "failed": 0}
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
    assert report.summaries["full"].failed == 2
    assert report.summaries["full"].accuracy == pytest.approx(4 / 6), "failed items stay in the denominator"
    assert report.summaries["no_video"].failed == 0
    assert report.summaries["wrong_video"].failed == 2
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
    fake_scorer.score = lambda question, options, video: OptionScores(
        log_likelihood=[float("nan")] * len(options), tokens=[1] * len(options)
    )
    report = examine(write_questions(), fake_scorer, controls=("full",))
    assert report.summaries["full"].failed == 6


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
    assert report.summaries["full"].failed == 0
    again = FakeScorer()
    examine(data, again)
    assert (again.watched, again.scored) == ([], [])
    assert len(rows_of(data)) == 18


def test_a_run_may_be_widened_by_a_control(write_questions: Write, fake_scorer: FakeScorer) -> None:
    data = write_questions()
    assert list(examine(data, fake_scorer, controls=("full",)).summaries) == ["full"]
    report = examine(data, fake_scorer, controls=("wrong_video",))
    assert list(report.summaries) == ["full", "wrong_video"]
    assert report.gaps["wrong_video"][0] == 1.0


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 3}, "index below 3, got 3"),
        ({"answer": True}, "index below 3, got True"),
        ({"answer": "b"}, "index below 3, got 'b'"),
        ({"candidates": ["one"]}, "two or more texts"),
        ({"candidates": ["one", ""]}, "two or more texts"),
        ({"video": None}, "expected text in 'video'"),
        ({"id": "a0"}, "'a0' comes twice"),
        ({"options": []}, r"unknown \['options'\], missing \[\]\. Known keys: answer, candidates"),
    ],
)
def test_bad_rows_name_file_and_line(write_questions: Write, change: dict, message: str) -> None:
    data = write_questions([ROWS[0], ROWS[1] | change])
    with pytest.raises(DataError, match=rf"questions\.jsonl:2: .*{message}"):
        read_questions(data)


def test_no_questions_and_no_file(write_questions: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one question"):
        read_questions(write_questions([]))
    with pytest.raises(DataError, match="no such file"):
        read_questions(tmp_path / "none.jsonl")
