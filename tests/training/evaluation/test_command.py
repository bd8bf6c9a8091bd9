"""The command with the real model: mini watches the example clips."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CAPTIONS = {
    "fruit_on_a_belt.mp4": "Fruit and vegetables move along a conveyor belt.",
    "worker_in_a_hall.mp4": "A worker with a helmet walks through a factory hall.",
    "cartoon_bird.mp4": "A bird sits on a branch in a cartoon.",
}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training.evaluation", "mcq", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Three questions about example clips, and a fourth about a file that is no video."""
    folder = tmp_path_factory.mktemp("mcq")
    (folder / "broken.mp4").write_text("not a video")
    rows = [
        {"id": video, "video": str(ROOT / "examples" / video), "question": "Which sentence describes the video?",
         "candidates": list(CAPTIONS.values()), "answer": index}
        for index, video in enumerate(CAPTIONS)
    ]  # fmt: skip
    rows.append(rows[0] | {"id": "broken", "video": "broken.mp4"})
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "out", command(
        "--data", str(folder / "questions.jsonl"), "--model", "mini", "--output", str(folder / "out")
    )


def answers(run: tuple[Path, subprocess.CompletedProcess[str]]) -> list[dict]:
    return [json.loads(line) for line in (run[0] / "answers.jsonl").read_text().splitlines()]


def test_the_command_prints_the_table_and_nothing_else(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    done = run[1]
    assert done.returncode == 0, done.stderr
    firsts = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line]
    assert firsts[:7] == [
        "control", "---", "full", "no_video", "wrong_video", "full - no_video", "full - wrong_video"
    ]  # fmt: skip
    assert {first for first in firsts[7:]} <= {"control", "---", "full", "no_video", "wrong_video"}
    assert "broken.mp4" in done.stderr, "the person is told which video could not be read"


def test_numbers_are_those_of_the_protocol(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    rows = answers(run)
    assert sorted((row["control"], row["id"]) for row in rows) == sorted(
        (control, id) for control in ("full", "no_video", "wrong_video") for id in [*CAPTIONS, "broken"]
    )
    blind = rows[0]["log_likelihood_no_video"]
    for row in rows:
        if row["status"] == "failed":
            continue
        assert row["log_likelihood_no_video"] == blind, "the same words without a video are worth the same everywhere"
        assert all(math.isfinite(value) and value < 0 for value in row["log_likelihood"])
        assert (row["log_likelihood"] == blind) == (row["control"] == "no_video")
        gains = [
            seen / n - (0 if row["control"] == "no_video" else without / n)
            for seen, without, n in zip(row["log_likelihood"], blind, row["tokens"], strict=True)
        ]
        assert row["predicted"] == gains.index(max(gains))


def test_a_file_that_is_no_video_is_never_scored(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    failed = [row for row in answers(run) if row["status"] == "failed"]
    assert {row["video"] for row in failed} == {"broken.mp4"}
    assert {row["control"] for row in failed} == {"full", "wrong_video"}
    summary = json.loads((run[0] / "summary.json").read_text())
    assert [summary[control]["failed"] for control in ("full", "no_video", "wrong_video")] == [1, 0, 1]
    assert all(part["n"] == 4 for part in summary.values())


def test_mini_finds_a_caption_likelier_beside_its_own_clip(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """A smoke test of the whole way, no measurement: fruit, a worker and a cartoon bird are far apart."""
    likelihood = {
        (row["id"], row["control"]): row["log_likelihood"][row["answer"]]
        for row in answers(run)
        if row["status"] == "ok" and row["id"] in CAPTIONS
    }
    gains = {
        id: likelihood[id, "full"] - likelihood[id, "wrong_video"]
        for id in CAPTIONS
        if (id, "wrong_video") in likelihood
    }
    assert len(gains) >= 2
    assert all(gain > 0 for gain in gains.values()), gains


def test_mistakes_are_told_in_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "questions.jsonl"
    data.write_text("{}\n")
    bad_data = command("--data", str(data), "--output", str(tmp_path / "out"))
    assert bad_data.returncode == 1
    assert "questions.jsonl:1: unknown [], missing ['answer'," in bad_data.stderr
    assert "Traceback" not in bad_data.stderr
    bad_control = command("--data", str(data), "--output", str(tmp_path / "out"), "--controls", "full,blind")
    assert bad_control.returncode == 2
    assert "Known controls: full, no_video, wrong_video" in bad_control.stderr
