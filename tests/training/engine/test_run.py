"""What a kill leaves in a run folder does not stop the run that goes on, and does not stay in its record."""

from pathlib import Path

import pytest
import torch
from torch import nn

from training.engine.run import ResumeError, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 1 / step})
    return run


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    module = nn.Linear(2, 1)
    return module, torch.optim.AdamW(module.parameters())


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
