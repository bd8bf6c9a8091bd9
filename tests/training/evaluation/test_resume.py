"""What a run's folder survives: kills, second starts, other settings, parts; and what can be read off it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.evaluation.fakes import ROWS, FakeScorer, examine, rows_of
from training.data.jsonl import DataError
from training.engine.files import ResumeError
from training.evaluation.answers import lock
from training.evaluation.compare import compare
from training.evaluation.merge import merge

Write = Callable[..., Path]


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmark": "mcq"'])
def test_a_run_file_of_another_origin_is_named(write_questions: Write, tmp_path: Path, text: str) -> None:
    examine(write_questions(), FakeScorer())
    (tmp_path / "run/run.json").write_text(text)
    with pytest.raises(ResumeError, match=r"run\.json: expected what a run was made of"):
        merge([tmp_path / "run"], tmp_path / "again")
