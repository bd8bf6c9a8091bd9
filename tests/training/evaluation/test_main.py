"""The command line: what a user types, and what comes back."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.evaluation.fakes import FakeScorer
from training.data.benchmarks.catalogue import CATALOGUE
from training.evaluation.__main__ import main
from training.evaluation.scorer import ModelScorer

Run = Callable[..., int]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three videos with a question each."""
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": name, "video": f"{name}.mp4", "question": f"What is {name}?", "candidates": ["apple", "bread", "cake"], "answer": i}
        for i, name in enumerate("abc")
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_text(name)
    return path


@pytest.fixture
def ask(data: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mcq` on the questions, by a stand-in for the model."""

    def run(output: str, *arguments: str, scorer: FakeScorer | None = None) -> int:
        monkeypatch.setattr(ModelScorer, "load", lambda name: scorer or FakeScorer())
        return main(["mcq", "--data", str(data), "--output", str(data.parent / output), *arguments])

    return run


def test_shards_are_merged_and_runs_compared(ask: Run, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("whole") == 0
    table = capsys.readouterr().out
    assert table.startswith("| control | accuracy (95 % interval) |")
    assert [ask(f"part{i}", "--shard", f"{i}/3") for i in (1, 2, 3)] == [0, 0, 0]
    capsys.readouterr()
    parts = [str(data.parent / f"part{i}") for i in (3, 1, 2)]
    assert main(["merge", *parts, "--output", str(data.parent / "merged")]) == 0
    assert capsys.readouterr().out == table
    ask("worse", scorer=FakeScorer(broken={"a.mp4"}, weights="w2"))
    capsys.readouterr()
    assert main(["compare", str(data.parent / "worse"), str(data.parent / "whole")]) == 0
    told = capsys.readouterr().out
    assert "accuracy: 0.667 -> 1.000, difference +0.333" in told
    assert "0 -> 1  a  What is a?" in told


def test_a_control_without_any_answer_is_an_error_to_the_shell(ask: Run) -> None:
    assert ask("none", scorer=FakeScorer(broken={"a.mp4", "b.mp4", "c.mp4"})) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--controls", "options_shuffled"], "Add --letters"),
        (["--shard", "1/4"], "at least 4 videos"),
        (["--rejudge"], "--judge"),
    ],
)
def test_what_does_not_go_together_is_said(
    ask: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert ask("run", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_shard_is_i_of_n(ask: Run, shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ask("run", "--shard", shard)
    assert "expected i/n with 1 <= i <= n" in capsys.readouterr().err


def test_an_unknown_model_is_an_error_and_no_traceback(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcq", "--data", str(data), "--model", "nothing", "--output", str(data.parent / "run")]) == 1
    assert "unknown model 'nothing'" in capsys.readouterr().err


def test_the_list_says_what_every_benchmark_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    told = capsys.readouterr().out
    for name in ("mcq", "retrieval", "mvbench", "nextqa_oe", "tempcompass"):
        assert f"\n{name}\n" in f"\n{told}"
    assert len(re.findall(r"^  (?:files|from|licence) +\S", told, flags=re.MULTILINE)) == 3 * len(CATALOGUE)
