"""What a kill or a bad disk leaves in a run folder: gone on with where it is whole, and refused where it is not."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from training.engine.run import PREVIOUS_FILE, STATE_FILE, ResumeError, Run
from training.engine.state import State


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 1 / step})
    return run


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    module = nn.Linear(2, 1)
    return module, torch.optim.AdamW(module.parameters())


def trained_parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    module, optimizer = parts()
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return module, optimizer


def steps(run: Run) -> list[int]:
    return [row["step"] for row in run.metrics()]


@pytest.mark.parametrize("torn", ['{"step": 40, "lo', '{"step": 40, "lo\n', "{"])
def test_a_torn_last_line_is_skipped_and_does_not_spoil_the_next(run: Run, torn: str) -> None:
    with run.metrics_file.open("a") as file:
        file.write(torn)
    assert steps(run) == [10, 20, 30]
    run.save(20, *parts())
    assert run.restore(*parts()) == 20
    run.log({"step": 30})
    assert steps(run) == [10, 20, 30]


def test_a_torn_line_in_the_middle_is_an_error(run: Run) -> None:
    run.metrics_file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ResumeError, match=r"metrics.jsonl:2: expected JSON"):
        run.metrics()


def test_metrics_of_a_run_that_saved_nothing_are_dropped(run: Run) -> None:
    assert run.restore(*parts()) == 0
    assert steps(run) == []


def test_a_state_of_other_parameters_is_refused(run: Run) -> None:
    run.save(20, *parts())
    module, optimizer = parts()
    module.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ResumeError, match=r"1 missing \['extra'\], 0 unexpected"):
        run.restore(module, optimizer)


def test_every_damage_is_found(run: Run) -> None:
    """One flipped bit anywhere, or a lost end; only a flip that changes nothing that is read may pass."""
    run.save(20, *trained_parts())
    content = run.state_file.read_bytes()
    whole = State.read(run.state_file).tensors
    rng = random.Random(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(content)
        if trial % 10:
            damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(content)) :]
        run.state_file.write_bytes(damaged)
        try:
            assert run.restore(*parts()) == 20
            assert all(torch.equal(t, whole[name]) for name, t in State.read(run.state_file).tensors.items())
        except ResumeError as error:
            assert f"{STATE_FILE} is damaged: expected" in str(error)  # noqa: PT017 (most of them are refused)
            assert "No other state is kept. Start anew" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 280


def test_a_damaged_state_points_to_the_whole_one_before_it(run: Run) -> None:
    for step in (10, 20):
        run.save(step, *trained_parts())
    damaged = bytearray(run.state_file.read_bytes())
    damaged[-1] ^= 1
    run.state_file.write_bytes(damaged)
    with pytest.raises(
        ResumeError, match=rf"expected content of SHA-256 \w+, got \w+\. {PREVIOUS_FILE} beside it is whole: delete "
        rf"{STATE_FILE} to go on from step 10"
    ):  # fmt: skip
        run.restore(*parts())
    assert steps(run) == [10, 20, 30], "what is refused stays as it was"
    (run.folder / STATE_FILE).unlink()
    assert run.restore(*parts()) == 10
    assert steps(run) == [10]
    (run.folder / STATE_FILE).write_bytes(damaged)
    (run.folder / PREVIOUS_FILE).write_bytes(b"")
    with pytest.raises(ResumeError, match="is damaged, too. Start anew"):
        run.restore(*parts())


def test_a_full_disk_leaves_the_state_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save(10, *trained_parts())
    before = run.state_file.read_bytes()

    def no_space(state: State, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(State, "write", no_space)
    with pytest.raises(OSError, match="No space left"):
        run.save(20, *trained_parts())
    assert run.state_file.read_bytes() == before
    assert not list(run.folder.glob("*.partial"))


def test_states_of_the_first_format_are_gone_on_with(run: Run) -> None:
    module, optimizer = trained_parts()
    run.save(20, module, optimizer)
    save_file(load_file(run.state_file), run.state_file, metadata={"step": "20"})
    other, fresh = parts()
    assert run.restore(other, fresh) == 20
    assert torch.equal(other.weight, module.weight)
    assert torch.equal(fresh.state[other.weight]["exp_avg"], optimizer.state[module.weight]["exp_avg"])
