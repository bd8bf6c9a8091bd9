"""A folder belongs to one training: nothing else goes on in it, and nothing overwrites what it says."""

import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from encoder.provenance import git_commit
from training.engine.record import ENVIRONMENT_FILE, RECORD_FILE, claim, describe, note_session, recorded
from training.engine.run import PREVIOUS_FILE, STATE_FILE, ResumeError


@dataclass(frozen=True)
class Recipe:
    steps: int = 10
    threads: int = 2
    lr: float = 0.1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n")
    return path


@pytest.fixture
def output(tmp_path: Path, data: Path) -> Path:
    """A folder with a saved state."""
    folder = tmp_path / "run"
    claim(folder, describe("bridge", Recipe(), [data], None), resume=False)
    (folder / "bridge").mkdir()
    (folder / "bridge" / STATE_FILE).write_bytes(b"")
    return folder


def test_a_used_folder_is_refused_and_stays_as_it_was(output: Path, data: Path) -> None:
    before = (output / RECORD_FILE).read_text()
    with pytest.raises(FileExistsError, match="--resume"):
        claim(output, describe("bridge", Recipe(lr=0.2), [data], None), resume=False)
    assert (output / RECORD_FILE).read_text() == before


def test_a_state_that_stands_in_for_the_last_one_counts_too(output: Path, data: Path) -> None:
    (output / "bridge" / STATE_FILE).rename(output / "bridge" / PREVIOUS_FILE)
    with pytest.raises(FileExistsError, match="--resume"):
        claim(output, describe("bridge", Recipe(), [data], None), resume=False)


def test_another_training_is_told_what_differs(output: Path, data: Path, tmp_path: Path) -> None:
    before = (output / RECORD_FILE).read_text()
    start = tmp_path / "start"
    (start / "adapter").mkdir(parents=True)
    (start / "adapter" / "weights.safetensors").write_bytes(b"1")
    others = {
        "lr was 0.1, is 0.2": describe("bridge", Recipe(lr=0.2), [data], None),
        "task was 'bridge', is 'align'": describe("align", Recipe(), [data], None),
        "start_sha256 was ": describe("bridge", Recipe(), [data], start),
        "data_sha256 was ": describe("bridge", Recipe(), [data, data], None),
    }
    for message, training in others.items():
        with pytest.raises(ResumeError, match=message):
            claim(output, training, resume=True)
    data.write_text("{}\n{}\n")
    with pytest.raises(ResumeError, match="data_sha256 was "):
        claim(output, describe("bridge", Recipe(), [data], None), resume=True)
    assert (output / RECORD_FILE).read_text() == before


def test_lengths_threads_and_places_may_change(output: Path, data: Path, tmp_path: Path) -> None:
    moved = data.rename(tmp_path / "moved.jsonl")
    claim(output, describe("bridge", replace(Recipe(), steps=20, threads=1), [moved], None), resume=True)
    assert (recorded(output)["steps"], recorded(output)["data"]) == (20, [str(moved)])


def test_a_record_without_hashes_is_compared_by_what_it_says(output: Path, data: Path) -> None:
    old = {"steps": 10, "threads": 2, "lr": 0.1, "data": ["data.jsonl"]}
    (output / RECORD_FILE).write_text(json.dumps(old))
    with pytest.raises(ResumeError, match=r"holds another training: lr was 0.1, is 0.2\. "):
        claim(output, describe("bridge", Recipe(lr=0.2), [data], None), resume=True)
    claim(output, describe("bridge", Recipe(), [data], None), resume=True)
    assert recorded(output)["task"] == "bridge"


def test_states_without_a_readable_record_are_left_alone(output: Path, data: Path) -> None:
    (output / RECORD_FILE).write_text("{")
    with pytest.raises(ResumeError, match="expected JSON"):
        recorded(output)
    (output / RECORD_FILE).unlink()
    with pytest.raises(ResumeError, match="no recipe.json"):
        claim(output, describe("bridge", Recipe(), [data], None), resume=True)


def test_a_start_that_saved_nothing_may_be_started_again(tmp_path: Path, data: Path) -> None:
    for resume, lr in ((False, 0.1), (False, 0.2), (True, 0.3)):
        claim(tmp_path / "run", describe("bridge", Recipe(lr=lr), [data], None), resume=resume)
        assert recorded(tmp_path / "run")["lr"] == lr


def test_every_start_notes_what_it_runs_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    for n in (1, 2):
        monkeypatch.setattr(sys, "argv", ["training", "align", f"--{n}"])
        torch.set_num_threads(n)
        note_session(tmp_path)
    torch.set_num_threads(threads)
    first, second = json.loads((tmp_path / ENVIRONMENT_FILE).read_text())["sessions"]
    assert first == second | {"started": first["started"], "command": ["align", "--1"], "threads": 1}
    assert (second["command"], second["threads"]) == (["align", "--2"], 2)
    assert second["versions"]["torch"] == version("torch")
    assert second["git_commit"] == git_commit()
    assert datetime.fromisoformat(first["started"]) <= datetime.now(UTC)
    (tmp_path / ENVIRONMENT_FILE).write_text("[")
    with pytest.raises(ResumeError, match="environment.json: expected JSON"):
        note_session(tmp_path)
