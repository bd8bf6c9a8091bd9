"""What tests of the evaluation share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.training.evaluation.fakes import ROWS, FakeScorer
from tests.training.evaluation.judge_server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A judge's server, which replies as the test tells it."""
    monkeypatch.setenv("no_proxy", "*")
    with serving() as told:
        yield told


@pytest.fixture
def fake_scorer() -> FakeScorer:
    return FakeScorer()


@pytest.fixture
def write_questions(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as questions.jsonl; by default three videos with two questions each, all of them right when seen."""

    def write(rows: list[dict] | None = None) -> Path:
        path = tmp_path / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)))
        for name in "abc":
            (tmp_path / f"{name}.mp4").write_text(name)
        return path

    return write
