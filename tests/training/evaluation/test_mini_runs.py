"""Runs of the real model that are cut short or split end with the very numbers of one that is not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.merge import merge
from training.evaluation.run import RunConfig, run
from training.evaluation.scorer import ModelScorer

ROOT = Path(__file__).parents[3]
CLIPS = ("cartoon_bird.mp4", "fruit_on_a_belt.mp4", "worker_in_a_hall.mp4")
QUESTIONS = ("What is shown?", "What is in the video?", "Where is it?", "What moves?")
OPTIONS = ["A bird on a branch.", "Fruit on a conveyor belt.", "A worker in a factory hall, with a yellow helmet."]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions about each of three clips; those of a clip begin alike, so that what was read could be mixed up."""
    path = tmp_path_factory.mktemp("runs") / "questions.jsonl"
    rows = [
        {"id": f"{clip}{i}", "video": str(ROOT / "examples" / clip), "question": question, "candidates": OPTIONS,
         "answer": answer}
        for answer, clip in enumerate(CLIPS) for i, question in enumerate(QUESTIONS)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def mini() -> ModelScorer:
    return ModelScorer.load("mini")


@pytest.fixture(scope="module")
def whole(data: Path, mini: ModelScorer) -> Path:
    return ask(data, mini, "whole")


def ask(data: Path, scorer: ModelScorer, output: str, **settings: object) -> Path:
    config = RunConfig(data=data, output=data.parent / output, letters=True, **settings)
    run(benchmark_by_name("mcq"), config, load=lambda name: scorer)
    return config.output


def answers(folder: Path) -> list[str]:
    return sorted((folder / "answers.jsonl").read_text().splitlines())


def test_a_killed_run_goes_on_to_the_same_numbers(data: Path, whole: Path) -> None:
    output = data.parent / "killed"
    command = [
        sys.executable, "-m", "training.evaluation", "mcq", "--letters", "--data", str(data), "--output", str(output)
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = output / "answers.jsonl"
    deadline = time.monotonic() + 120
    while not rows.exists() or len(rows.read_bytes().splitlines()) < 18:  # in the middle of a clip's questions
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(answers(output)) < len(answers(whole)), "nothing would be left to do"
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    for one, other in zip(map(json.loads, answers(output)), map(json.loads, answers(whole)), strict=True):
        for values in ("log_likelihood", "log_likelihood_no_video"):
            # Of another process: on some CPUs the first matrix products of a process are rounded otherwise.
            assert one.pop(values) == pytest.approx(other.pop(values), abs=2e-3)
        assert one == other
    assert (output / "summary.json").read_text() == (whole / "summary.json").read_text()


def test_parts_merge_to_the_same_numbers(data: Path, mini: ModelScorer, whole: Path) -> None:
    parts = [ask(data, mini, f"part{i}", shard=(i, 3)) for i in (3, 1, 2)]
    merge(parts, data.parent / "merged")
    assert answers(data.parent / "merged") == answers(whole)
    assert (data.parent / "merged/summary.json").read_text() == (whole / "summary.json").read_text()


def test_the_order_of_questions_changes_no_bit(data: Path, mini: ModelScorer, whole: Path) -> None:
    backwards = data.with_name("backwards.jsonl")
    backwards.write_text("".join(f"{line}\n" for line in reversed(data.read_text().splitlines())))
    folder = ask(backwards, mini, "backwards", controls=("full", "no_video"))
    kept = [row for row in answers(whole) if json.loads(row)["control"] != "wrong_video"]
    assert answers(folder) == kept
