"""Two processes under torchrun are one process: the same losses and gradients, one set of files, one mind about a step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine import shared_work
from training.engine import distributed
from training.engine.distributed import ProcessesError, gather, gather_objects, on_first, own_device, share
from training.engine.files import read_rows
from training.engine.run import Run

ROOT = Path(__file__).parents[3]


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A module and its arguments in several processes of this machine."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_losses_and_gradients_are_those_of_one_process(tmp_path: Path, processes: int) -> None:
    """With three processes the shares are of different sizes."""
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    done = torchrun(processes, shared_work.__name__, str(tmp_path / "several" / "found.safetensors"))
    assert done.returncode == 0, done.stderr
    expected, found = shared_work.results(tmp_path / "one"), load_file(tmp_path / "several" / "found.safetensors")
    assert found.keys() == expected.keys()
    assert {"heads.1.vision.fc1.weight", "branch.2.temperatures.group.log_scale", "run.stopped"} <= found.keys()
    assert sum(t.abs().max() > 1e-4 for t in expected.values()) > 60, "gradients of zero would prove nothing"
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
    one, several = (Run(tmp_path / name / "run") for name in ("one", "several"))
    assert [row["step"] for row in several.metrics()] == [row["step"] for row in one.metrics()]
    assert read_rows(several.ledger_file) == read_rows(one.ledger_file)
    assert [row["step"] for row in read_rows(one.ledger_file)] == [4, 6, 9, 10, 11]


def test_every_process_has_a_gpu_of_its_own_or_none_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device() == torch.device("cpu")
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device() == torch.device("cuda", 0), "alone, whatever the environment says"
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert own_device() == torch.device("cuda", 1)
    assert current == [torch.device("cuda", 0), torch.device("cuda", 1)]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ProcessesError, match="expected a GPU for each process, got 2 for 3"):
        own_device()


def test_alone_nothing_changes() -> None:
    rows = torch.arange(6.0, requires_grad=True)
    assert gather(rows[share(6)], 6) is not None
    assert torch.equal(gather(rows[share(6)], 6), rows)
    assert on_first(lambda: 3) == 3
    assert gather_objects("a") == ["a"]
