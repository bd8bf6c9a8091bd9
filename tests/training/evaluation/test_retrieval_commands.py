"""Retrieval on its owners' files, from the command to the summary, with an encoder of toy size."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.clip import write_clip
from bridge.runtime import Runtime
from encoder.checkpoints import save_encoder
from encoder.presets import ENCODERS, TOKENIZERS
from encoder.video import VideoFrames, read_frames
from tests.training.evaluation.tiny import tiny_encoder
from training.evaluation import retriever
from training.evaluation.__main__ import main
from training.evaluation.retrieval import READERS

DATASETS = Path(__file__).parents[1] / "data" / "datasets"
NUMBERS = {"msrvtt": 2, "didemo": 2, "lsmdc": 2}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "tiny", tiny_encoder)
    monkeypatch.setitem(TOKENIZERS, "tiny", TOKENIZERS["mini"])
    monkeypatch.setattr(retriever, "find_runtime", Runtime)


def made(name: str, folder: Path) -> Path:
    """A copy of a miniature with clips of different shapes wherever its test split names a video."""
    shutil.copytree(DATASETS / name, folder)
    for number, video in enumerate(READERS[name](folder)):
        path = folder / video.video
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(folder / "clip.mp4", seconds=0.4, width=64 + 64 * number, height=64)
        (folder / "clip.mp4").rename(path)
    return folder


@pytest.mark.parametrize("name", NUMBERS)
def test_the_command_of_a_data_set(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made(name, tmp_path / "data")
    assert main([name, "--data", str(data), "--model", "tiny", "--output", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("text_to_video ")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["n"], summary["failed"], summary["mode"]) == (NUMBERS[name], 0, "plain")
    for direction in ("text_to_video", "video_to_text"):
        assert list(summary[direction]) == ["R@1", "R@5", "R@10", "MdR", "MnR", "ci95"]
        assert summary[direction]["R@5"] == 1.0
    assert json.loads((tmp_path / "run/run.json").read_text())["benchmark"] == name
    rows = [json.loads(line) for line in (tmp_path / "run/ranks.jsonl").read_text().splitlines()]
    videos = READERS[name](data)
    assert [(row["video"], row["caption"]) for row in rows if row["direction"] == "text_to_video"] == [
        (video.video, caption) for video in videos for caption in video.captions
    ]


def test_an_encoder_folder_is_a_model_too(tmp_path: Path) -> None:
    data = made("msrvtt", tmp_path / "data")
    save_encoder(tmp_path / "encoder", tiny_encoder(), preset="tiny", retrieval_mode="mug")
    command = ["msrvtt", "--data", str(data), "--model", str(tmp_path / "encoder"), "--output", str(tmp_path / "run")]
    assert main(command) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["mode"] == "mug"


def test_of_didemo_no_more_is_seen_than_was_annotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []

    def noted(path: Path, count: int, *, end: float | None) -> VideoFrames:
        ends.append(end)
        return read_frames(path, count, end=end)

    monkeypatch.setattr(retriever, "read_frames", noted)
    for name in ("didemo", "lsmdc"):
        data = made(name, tmp_path / name)
        assert main([name, "--data", str(data), "--model", "tiny", "--output", str(tmp_path / f"run-{name}")]) == 0
    assert ends == [30.0, 30.0, None, None]


def test_one_data_set_does_not_go_on_as_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("msrvtt", "lsmdc"):
        made(name, tmp_path / name)

    def command(name: str) -> int:
        return main([name, "--data", str(tmp_path / name), "--model", "tiny", "--output", str(tmp_path / "run")])

    assert command("msrvtt") == 0
    assert command("lsmdc") == 1
    assert "run holds another run: benchmark was 'msrvtt', is 'lsmdc'" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "run")]) == 1
    assert "holds a retrieval run" in capsys.readouterr().err


def test_what_is_wrong_with_the_files_is_told_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "LSMDC16_challenge_1000_publictect.csv").write_text("a clip\tand no more\n")
    assert main(["lsmdc", "--data", str(tmp_path), "--model", "tiny", "--output", str(tmp_path / "run")]) == 1
    assert "publictect.csv:1: expected 6 columns" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
