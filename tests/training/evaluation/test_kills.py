"""kill -9 at random moments and the same command again: the summary of an unbroken run, and no answer asked twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.training.evaluation.fakes import FakeScorer
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.run import RunConfig, run

class Slow(FakeScorer):
    def score(self, question, options, seen):
        time.sleep(0.004)
        with open({asked!r}, "a") as file:
            file.write(f"{{question}}|{{seen.tokens is not None and seen.tokens.item()}}\\n")
        return super().score(question, options, seen)

print("ready", flush=True)
run(benchmark_by_name("mcq"), RunConfig(data=Path({data!r}), output=Path({output!r})), load=lambda name: Slow())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions about four videos; with three controls, about forty answers."""
    path = tmp_path_factory.mktemp("kills") / "questions.jsonl"
    rows = [
        {"id": f"{v}{i}", "video": f"{v}.mp4", "question": f"{v}, part {i}?", "candidates": ["apple", "bread", "cake", "dip"],
         "answer": "abcd".index(v)}
        for v in "abcd" for i in range(3)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for video in "abcd":
        path.with_name(f"{video}.mp4").write_text(video)
    return path


def start(data: Path, output: Path) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(root=str(ROOT), data=str(data), output=str(output), asked=f"{output}.asked")
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def trial(data: Path, folder: Path, seed: int, expected: str, seconds: float) -> None:
    output = folder / f"killed{seed}"
    process = start(data, output)
    time.sleep(random.Random(seed).uniform(0, seconds))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(data, output).wait() == 0
    assert (output / "summary.json").read_text() == expected
    asked = Counter(Path(f"{output}.asked").read_text().splitlines())
    assert len(asked) == 12 + 12 * 2, "every question without a video, with its own and with a wrong one"
    assert sum(n - 1 for n in asked.values()) <= 2, "no more than the one in flight, with and without its video"


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The summary of a run that nobody kills, and the seconds it takes."""
    output = tmp_path_factory.mktemp("whole") / "run"
    process = start(data, output)
    started = time.monotonic()
    assert process.wait() == 0
    return (output / "summary.json").read_text(), time.monotonic() - started


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment(data: Path, tmp_path: Path, unbroken: tuple[str, float], seed: int) -> None:
    trial(data, tmp_path, seed, *unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 50))
def test_killed_at_more_random_moments(data: Path, tmp_path: Path, unbroken: tuple[str, float], seed: int) -> None:
    trial(data, tmp_path, seed, *unbroken)
