"""Judging from the command line: the five aspects for Video-ChatGPT, yes or no for the rest, and whose verdict it is."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bridge.language_model import load_language_model
from tests.bridge.conftest import llm_folder  # noqa: F401 - a fixture
from tests.training.evaluation.judge_server import Server, completion
from training.data.benchmarks import video_chatgpt
from training.data.benchmarks.video_chatgpt import ASPECTS
from training.evaluation import commands
from training.evaluation.__main__ import main
from training.evaluation.aspects import aspect_prompt_hash
from training.evaluation.run import items_hash

MINIATURE = Path(__file__).parents[1] / "data" / "benchmarks" / "video_chatgpt"
SCORES = {"correctness": "530", "detail": "420", "context": "541", "temporal": "3", "consistency": "51"}
"""What the server says, in the order of the questions."""
REPLIES = [completion(score) for scores in SCORES.values() for score in scores]


def summary(mean: float | None, *, scored: int = 0, failed: int = 0) -> dict:
    return {"mean_score": mean, "scored": scored, "unparsed": 0, "failed": failed, "unanswered": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature's questions in data/ and an answer to each in run/."""
    shutil.copytree(MINIATURE, tmp_path / "data")
    rows = [
        {"id": item.id, "control": "full", "video": item.video, "prediction": f"Answer to {item.id}.", "status": "ok"}
        for item in video_chatgpt.read(MINIATURE)
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def judge(folder: Path, *options: str, benchmark: str = "video_chatgpt") -> int:
    return main([benchmark, "--data", str(folder / "data"), "--output", str(folder / "run"), "--rejudge", *options])


def judged(folder: Path) -> dict:
    (path,) = (folder / "run").glob("judged-*.json")
    return json.loads(path.read_text())


def test_video_chatgpt_is_judged_in_five_aspects(
    folder: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies = list(REPLIES)
    code = judge(folder, "--judge", server.url, "--judge-model", "org/judge", "--judge-version", "2024-05-13")
    assert code == 0
    assert judged(folder) == {
        "judge": {
            "name": "org/judge", "version": "2024-05-13",
            "prompt_sha256": {aspect: aspect_prompt_hash(aspect) for aspect in ASPECTS}, "url": server.url,
        },
        "full": {
            "correctness": summary(8 / 3, scored=3), "detail": summary(2.0, scored=3),
            "context": summary(10 / 3, scored=3), "temporal": summary(3.0, scored=1),
            "consistency": summary(3.0, scored=2),
        },
    }  # fmt: skip
    assert len(server.requests) == len(REPLIES)
    assert {request["model"] for request in server.requests} == {"org/judge"}
    assert capsys.readouterr().out.splitlines() == [
        "", "judged by org/judge",
        "| control | aspect | mean of 0 to 5 | scored | unparsed | failed | unanswered |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| full | correctness | 2.667 | 3 | 0 | 0 | 0 |",
        "| full | detail | 2.000 | 3 | 0 | 0 | 0 |",
        "| full | context | 3.333 | 3 | 0 | 0 | 0 |",
        "| full | temporal | 3.000 | 1 | 0 | 0 | 0 |",
        "| full | consistency | 3.000 | 2 | 0 | 0 | 0 |",
    ]  # fmt: skip
    names = {path.name for path in (folder / "run").glob("judgements-*")}
    (stem,) = (path.stem.removeprefix("judged-") for path in (folder / "run").glob("judged-*.json"))
    assert names == {f"judgements-{stem}-{aspect}.jsonl" for aspect in ASPECTS}


def test_a_judge_that_is_down_decides_nothing_and_is_made_up_for(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    options = ("--judge", server.url, "--judge-model", "judge")
    server.replies = [503]
    assert judge(folder, *options) == 1
    assert judged(folder)["judge"]["version"] == "unknown"
    assert judged(folder)["full"] == {aspect: summary(None, failed=len(SCORES[aspect])) for aspect in ASPECTS}
    server.replies = [*REPLIES[:4], 503]
    assert judge(folder, *options) == 1, "an outage is told to the shell"
    full = judged(folder)["full"]
    assert full["correctness"] == summary(8 / 3, scored=3)
    assert full["detail"] == summary(4.0, scored=1, failed=2), "the mean of those that were heard"
    server.replies = REPLIES[4:]
    assert judge(folder, *options) == 0
    whole = judged(folder)["full"]
    assert [whole[aspect]["mean_score"] for aspect in ASPECTS] == pytest.approx([8 / 3, 2, 10 / 3, 3, 3])
    server.replies = [503]
    assert judge(folder, *options) == 0
    assert judged(folder)["full"] == whole


def test_other_open_benchmarks_are_judged_by_yes_or_no(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    question = {"id": "q", "video": "a.mp4", "question": "What is it?", "answer": "cat", "answers": ["cat"]}
    (tmp_path / "data").write_text(json.dumps(question) + "\n")
    (tmp_path / "a.mp4").write_text("a video")
    (tmp_path / "run").mkdir()
    answer = {"id": "q", "control": "full", "video": "a.mp4", "prediction": "a cat", "status": "ok"}
    (tmp_path / "run" / "answers.jsonl").write_text(json.dumps(answer) + "\n")
    server.replies = [completion("yes"), completion("4")]
    assert judge(tmp_path, "--judge", server.url, "--judge-model", "judge", benchmark="open_qa") == 0
    assert judged(tmp_path)["full"]["accuracy"] == 1.0
    assert "| full | 1.000 | 4.000 | 1 | 0 | 0 |" in capsys.readouterr().out


@pytest.fixture
def loaded(llm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """Names of the chat models that are loaded; each is the same tiny one, with its name as its fingerprint."""
    names: list[str] = []
    tiny = load_language_model(str(llm_folder), dtype=torch.float32)
    tiny.model.config.max_position_embeddings = 4096

    def load(name: str) -> SimpleNamespace:
        names.append(name)
        chat = SimpleNamespace(llm=tiny.model, tokenizer=tiny.tokenizer)
        return SimpleNamespace(model=chat, fingerprint=lambda: f"weights of {name}")

    monkeypatch.setattr(commands.ModelScorer, "load", load)
    return names


@pytest.mark.parametrize(
    ("options", "judge_model", "name"),
    [
        ((), "mini", "language model of mini"),
        (("--judge-model", "runs/other"), "runs/other", "language model of runs/other"),
        (("--judge-model", "runs/mine"), "runs/mine", "language model of runs/mine (the model under test)"),
    ],
)
def test_the_local_judge_is_never_silently_the_model_under_test(
    folder: Path, loaded: list[str], options: tuple[str, ...], judge_model: str, name: str
) -> None:
    data = items_hash(video_chatgpt.read(folder / "data"))
    run = {"benchmark": "video_chatgpt", "data_sha256": data, "model_sha256": "weights of runs/mine"}
    (folder / "run" / "run.json").write_text(json.dumps(run))
    assert judge(folder, "--model", "runs/mine", "--judge", "local", *options) == 0
    assert loaded == [judge_model]
    found = judged(folder)
    assert found["judge"]["name"] == name
    assert len(found["judge"]["version"]) == 64
    assert {aspect: found["full"][aspect]["scored"] for aspect in ASPECTS} == {
        aspect: len(scores) for aspect, scores in SCORES.items()
    }


def test_answers_to_other_questions_are_not_judged(
    folder: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"benchmark": "video_chatgpt", "data_sha256": "of other questions", "model_sha256": "m"}
    (folder / "run" / "run.json").write_text(json.dumps(run))
    assert judge(folder, "--judge", server.url, "--judge-model", "judge") == 1
    assert "holds other questions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--judge", "http://host/v1"), "--judge URL needs --judge-model NAME"),
        (("--judge", "host/v1", "--judge-model", "judge"), "--judge: expected an address like http://HOST:PORT"),
        (("--judge", "local", "--judge-version", "1"), "the version of a local judge is the hash of its weights"),
        (("--judge-model", "judge"), "--rejudge and --judge-model need --judge local"),
        (("--judge-version", "1"), "--rejudge and --judge-model need --judge local"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    folder: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(folder, *options) == 1
    assert message in capsys.readouterr().err
