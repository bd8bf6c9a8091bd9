"""The folder of a retrieval run: it says what was measured, and never loses the results of another run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from encoder.provenance import git_commit
from encoder.video import VideoError
from training.engine.files import ResumeError
from training.evaluation import retrieval
from training.evaluation.retrieval import RetrievalConfig, run

ROWS = [{"video": "a.mp4", "caption": "An ant."}, {"video": "b.mp4", "captions": ["A bird.", "It sings."]}]
Measure = Callable[..., Path]


@dataclass
class FakeRetriever:
    """Finds the first caption in the first video, and the others nowhere. Counts what it watches."""

    weights: str = "w1"
    num_frames: int = 4
    retrieval_mode: str = "mug"
    watched: int = 0
    die_at: int | None = None

    def fingerprint(self) -> str:
        return self.weights

    def precision(self) -> str:
        return "pencil and paper"

    def watch(self, path: Path, *, end: float | None) -> Tensor:
        self.watched += 1
        if self.watched == self.die_at:
            raise KeyboardInterrupt
        if not path.exists():
            raise VideoError("There is no such file.")
        number = sum(path.read_bytes())
        return torch.tensor([0.1 * number, 1 / number]).expand(self.num_frames, -1)

    def similarity(self, captions: list[str], frames: list[Tensor], mode: str) -> np.ndarray:
        self.compared = [video.numpy().tobytes() for video in frames]
        return np.eye(len(captions), len(frames))


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Run on rows in tmp_path/run; returns the folder."""

    for name in "ab":
        (tmp_path / f"{name}.mp4").write_text(name)

    def measured(rows: list[dict] = ROWS, retriever: FakeRetriever | None = None, **settings: Any) -> Path:
        data = settings.pop("data", tmp_path / "captions.jsonl")
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = RetrievalConfig(**{"data": data, "output": tmp_path / "run", **settings})
        run(config, load=lambda name: retriever or FakeRetriever())
        return config.output

    return measured


def contents(folder: Path) -> dict[str, bytes]:
    """Of its files, without the folder of features."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_run_json_says_what_was_measured(measure: Measure, tmp_path: Path) -> None:
    folder = measure(model="mini", dual_softmax=True, seed=3)
    said = json.loads((folder / "run.json").read_text())
    assert {key: said[key] for key in list(said)[:-6] if key != "data_sha256"} == {
        "benchmark": "retrieval", "data": str((tmp_path / "captions.jsonl").resolve()), "model": "mini",
        "model_sha256": "w1", "mode": "mug", "dual_softmax": True, "num_frames": 4, "seed": 3,
    }  # fmt: skip
    assert list(said)[-6:] == ["command", "git_commit", "precision", "python", "machine", "versions"]
    assert (said["git_commit"], said["precision"]) == (git_commit(), "pencil and paper")
    assert said["versions"]["torch"] == torch.__version__
    assert len(said["data_sha256"]) == 64


def test_a_rerun_is_the_same_wherever_data_and_model_lie(measure: Measure, tmp_path: Path) -> None:
    before = contents(measure())
    retriever = FakeRetriever()
    spelled = [ROWS[0] | {"video": "./a.mp4"}, ROWS[1]]
    after = contents(measure(spelled, retriever, data=tmp_path / "moved.jsonl", model="elsewhere", mode="mug"))
    assert retriever.watched == 0, "what was computed is there"
    assert before.keys() == after.keys() == {"run.json", "ranks.jsonl", "summary.json"}
    assert all(before[name] == after[name] for name in ("ranks.jsonl", "summary.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ROWS[:1]}, "data_sha256 was '.*', is '.*'"),
        ({"rows": [ROWS[0], ROWS[1] | {"captions": ["A bird sings."]}]}, "data_sha256 was '.*', is '.*'"),
        ({"retriever": FakeRetriever(weights="w2")}, "model_sha256 was 'w1', is 'w2'"),
        ({"retriever": FakeRetriever(num_frames=8)}, "num_frames was 4, is 8"),
        ({"mode": "plain"}, "mode was 'mug', is 'plain'"),
        ({"dual_softmax": True}, "dual_softmax was False, is True"),
        ({"seed": 1}, "seed was 0, is 1"),
    ],
)
def test_another_run_is_refused_before_it_costs_anything(measure: Measure, change: dict, message: str) -> None:
    folder = measure()
    before = contents(folder)
    settings = {"retriever": FakeRetriever(), **change}
    with pytest.raises(ResumeError, match=f"run holds another run: {message}. Choose another --output") as error:
        measure(**settings)
    assert str(error.value).count(" was ") == 1
    assert settings["retriever"].watched == 0
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["answers.jsonl", "summary.json"])
def test_a_folder_of_another_benchmark_is_left_alone(measure: Measure, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("{}\n")
    with pytest.raises(ResumeError, match=f"run has {name} but no run.json that says of what. Choose another --output"):
        measure()
    (folder / "run.json").write_text('{"benchmark": "mcq", "seed": 0}')
    with pytest.raises(ResumeError, match="run holds another run: benchmark was 'mcq', is 'retrieval'; data_sha256"):
        measure()
    assert contents(folder) == {name: b"{}\n", "run.json": b'{"benchmark": "mcq", "seed": 0}'}


def test_a_crash_leaves_no_summary_of_another_start(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = measure()

    write = retrieval.write_text

    def full_disk(path: Path, text: str) -> None:
        if path.name == "ranks.jsonl":
            raise OSError("no space left")
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(retrieval, "write_text", full_disk)
        with pytest.raises(OSError, match="no space left"):
            measure()
    assert not (folder / "summary.json").exists()
    measure()
    assert (folder / "summary.json").exists()


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(measure: Measure, tmp_path: Path) -> None:
    unbroken, whole = FakeRetriever(), tmp_path / "whole"
    measure(retriever=unbroken, output=whole)
    with pytest.raises(KeyboardInterrupt):
        measure(retriever=FakeRetriever(die_at=2))
    assert not (tmp_path / "run" / "ranks.jsonl").exists()
    again = FakeRetriever()
    folder = measure(retriever=again)
    assert again.watched == 1, "the video that was not done"
    assert again.compared == unbroken.compared, "bit for bit"
    assert len(set(again.compared)) == 2
    for name in ("ranks.jsonl", "summary.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    "change", [{"retriever": FakeRetriever(weights="w2")}, {"rows": ROWS[:1]}, {"mode": "plain"}]
)  # fmt: skip
def test_a_run_that_was_stopped_goes_on_as_no_other(measure: Measure, change: dict) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(retriever=FakeRetriever(die_at=2))
    with pytest.raises(ResumeError, match="run holds another run"):
        measure(**change)


def test_only_what_changed_is_watched_again(measure: Measure, tmp_path: Path) -> None:
    first = FakeRetriever()
    measure(retriever=first)
    (tmp_path / "a.mp4").write_text("another video")
    (tmp_path / "run" / "features" / "0.1.partial").write_text("half a fi")
    again = FakeRetriever()
    measure(retriever=again)
    assert again.watched == 1
    assert again.compared[0] != first.compared[0]
    assert again.compared[1] == first.compared[1]


def test_features_of_another_precision_are_not_taken(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    measure()
    monkeypatch.setattr(FakeRetriever, "precision", lambda self: "a slide rule")
    retriever = FakeRetriever()
    measure(retriever=retriever)
    assert retriever.watched == 2


def test_a_failed_video_is_tried_again(measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = FakeRetriever.watch

    def fails_on_b(self: FakeRetriever, path: Path, *, end: float | None) -> Tensor:
        if path.name == "b.mp4":
            raise VideoError("it is being copied.")
        return watch(self, path, end=end)

    with monkeypatch.context() as patch:
        patch.setattr(FakeRetriever, "watch", fails_on_b)
        folder = measure()
    assert json.loads((folder / "summary.json").read_text())["failed"] == 1
    retriever = FakeRetriever()
    measure(retriever=retriever)
    assert retriever.watched == 1
    assert json.loads((folder / "summary.json").read_text())["failed"] == 0


def test_missing_videos_are_counted_and_named(
    measure: Measure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.mp4").write_text("c")
    measure([*ROWS, {"video": "gone.mp4", "caption": "Gone."}, {"video": "c.mp4", "caption": "A cat."}])
    assert f"1 of 4 videos are missing in {tmp_path}: gone.mp4" in caplog.text
