"""A resumed run must be the unbroken one, to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from training.engine.loop import LoopConfig, StepOutput, fit
from training.engine.run import Run


class Regression:
    """A tiny task whose batch is a function of the step; it can fail at a chosen one."""

    def __init__(self, fail_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.fail_at = fail_at

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.module.parameters()), "lr": 1e-2, "weight_decay": 0.1}]

    def loss(self, step: int) -> StepOutput:
        if step == self.fail_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return StepOutput((self.module(x) - x.sum(1, keepdim=True)).square().mean(), tokens=16)

    def validate(self) -> dict[str, float]:
        return {"weight": self.module[0].weight.norm().item()}


CONFIG = LoopConfig(steps=12, warmup=2, save_every=4, validate_every=6, log_every=1)


@pytest.mark.parametrize("fail_at", [5, 8, 11])
def test_a_resumed_run_is_the_unbroken_one(tmp_path: Path, fail_at: int) -> None:
    whole = Regression()
    fit(whole, CONFIG, Run(tmp_path / "whole"), resume=False, name="whole")
    broken = Run(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(fail_at), CONFIG, broken, resume=False, name="broken")
    resumed = Regression()
    fit(resumed, CONFIG, broken, resume=True, name="resumed")
    for a, b in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(a, b)
    losses = [[row["loss"] for row in run.metrics() if "loss" in row] for run in (Run(tmp_path / "whole"), broken)]
    assert losses[0] == losses[1]
    assert (tmp_path / "broken" / "curves.png").exists()


def test_a_run_killed_before_its_first_save_logs_no_step_twice(tmp_path: Path) -> None:
    for resume in (False, True):
        run = Run(tmp_path / str(resume))
        with pytest.raises(KeyboardInterrupt):
            fit(Regression(fail_at=3), CONFIG, run, resume=False, name="killed")
        assert not run.state_file.exists()
        with run.metrics_file.open("a") as file:
            file.write('{"step": 4, "los')
        assert fit(Regression(), CONFIG, run, resume=resume, name="again") == 12
        assert [row["step"] for row in run.metrics() if "loss" in row] == list(range(1, 13))


def test_steps_beyond_a_shortened_training_count(tmp_path: Path) -> None:
    fit(Regression(), CONFIG, Run(tmp_path), resume=False, name="long")
    assert fit(Regression(), replace(CONFIG, steps=5), Run(tmp_path), resume=True, name="short") == 12


def test_a_used_folder_is_not_overwritten(tmp_path: Path) -> None:
    fit(Regression(), CONFIG, Run(tmp_path), resume=False, name="first")
    with pytest.raises(FileExistsError, match="--resume"):
        fit(Regression(), CONFIG, Run(tmp_path), resume=False, name="second")
