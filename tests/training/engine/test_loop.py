"""A resumed run must be the unbroken one, to the bit; what is not finite must change nothing."""

import gc
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.engine.toy import Regression
from training.engine.files import read_rows
from training.engine.loop import DivergedError, LoopConfig, accumulated, fit
from training.engine.run import Run

CONFIG = LoopConfig(steps=12, warmup=2, save_every=4, validate_every=6, log_every=1)
LONG = LoopConfig(steps=60, accumulate=2, warmup=5, save_every=7, validate_every=20, log_every=1)
"""120 batches of four: twelve epochs, and most saves fall into the middle of one."""
POISON = {11: "loss", 40: "gradient", 43: "loss", 81: "gradient"}
"""Among the steps 6, 21, 22 and 41."""


def parameters_equal(a: Regression, b: Regression) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.module.parameters(), b.module.parameters(), strict=True))


def told(run: Run) -> list[dict]:
    """All that a run says about itself, how fast it was excepted."""
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in run.metrics()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Regression, Run]:
    task, run = Regression(poison=POISON), Run(tmp_path_factory.mktemp("whole"))
    fit(task, LONG, run, resume=False, name="whole")
    return task, run


def stop_twice_and_compare(folder: Path, unbroken: tuple[Regression, Run], seed: int) -> None:
    run = Run(folder)
    for stop_at in sorted(random.Random(seed).sample(range(1, 120), 2)):
        with pytest.raises(KeyboardInterrupt):
            fit(Regression(poison=POISON, stop_at=stop_at), LONG, run, resume=True, name="stopped")
    resumed = Regression(poison=POISON)
    fit(resumed, LONG, run, resume=True, name="resumed")
    assert parameters_equal(resumed, unbroken[0])
    assert told(run) == told(unbroken[1])
    assert run.ledger_file.read_bytes() == unbroken[1].ledger_file.read_bytes()
    assert (folder / "curves.png").exists()


@pytest.mark.parametrize("seed", range(5))
def test_a_resumed_run_is_the_unbroken_one(tmp_path: Path, unbroken: tuple[Regression, Run], seed: int) -> None:
    stop_twice_and_compare(tmp_path, unbroken, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 20))
def test_more_resumed_runs_are_the_unbroken_one(tmp_path: Path, unbroken: tuple[Regression, Run], seed: int) -> None:
    stop_twice_and_compare(tmp_path, unbroken, seed)


def test_a_run_killed_before_its_first_save_logs_no_step_twice(tmp_path: Path) -> None:
    for resume in (False, True):
        run = Run(tmp_path / str(resume))
        with pytest.raises(KeyboardInterrupt):
            fit(Regression(stop_at=3), CONFIG, run, resume=False, name="killed")
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


def test_accumulated_batches_are_one_big_batch(tmp_path: Path) -> None:
    """Losses, gradients, samples, and where they lead; three batches alone would lead elsewhere."""
    small, big = Regression(batch_size=4, dropout=0), Regression(batch_size=12, dropout=0)
    parts = accumulated(small, 2, replace(CONFIG, accumulate=3))
    whole = accumulated(big, 2, CONFIG)
    assert (parts.samples, parts.tokens, parts.metrics) == (whole.samples, 12, {"batch": 7.0})
    torch.testing.assert_close(parts.loss, whole.loss, atol=1e-6, rtol=0)
    for a, b in zip(small.module.parameters(), big.module.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=0)
    results = {}
    for name, size, count in (("small", 4, 3), ("big", 12, 1), ("alone", 4, 1)):
        task = Regression(batch_size=size, dropout=0)
        fit(task, replace(CONFIG, accumulate=count), Run(tmp_path / name), resume=False, name=name)
        results[name] = task.module[0].weight
    torch.testing.assert_close(results["small"], results["big"], atol=1e-4, rtol=0)
    assert (results["alone"] - results["big"]).abs().max() > 1e-3


def test_nothing_accumulates_from_no_batch() -> None:
    with pytest.raises(ValueError, match="one batch or more to accumulate, got 0"):
        LoopConfig(steps=1, accumulate=0)


@pytest.mark.parametrize(("kind", "reason"), [("loss", "loss is inf"), ("gradient", "gradient norm is nan")])
def test_a_step_that_is_not_finite_changes_nothing_and_names_its_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    task, run = Regression(poison={5: kind}), Run(tmp_path)
    fit(task, CONFIG, run, resume=False, name="poisoned")
    moved = [not torch.equal(a, b) for a, b in zip(task.weights, task.weights[1:], strict=False)]
    assert moved == [step != 5 for step in range(11)]
    names = list(map(str, task.drawn(5)))
    assert read_rows(run.ledger_file) == [{"step": 6, "reason": reason, "samples": names}]
    assert [row for row in run.metrics() if "skipped" in row] == [{"step": 6, "skipped": reason, "samples": names}]
    assert [row["step"] for row in run.metrics() if "loss" in row] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    assert f"step 6 skipped: {reason}. Samples: {', '.join(names)}" in caplog.text


def test_the_batch_at_fault_is_named_and_no_other_of_its_step(tmp_path: Path) -> None:
    task, run = Regression(poison={9: "loss", 13: "gradient"}), Run(tmp_path)
    fit(task, replace(CONFIG, accumulate=4), run, resume=False, name="poisoned")
    loss, gradient = read_rows(run.ledger_file)
    assert loss == {"step": 3, "reason": "loss is inf", "samples": list(map(str, task.drawn(9)))}
    assert gradient["step"] == 4
    assert set(gradient["samples"]) == {str(i) for batch in range(12, 16) for i in task.drawn(batch)}


def test_three_such_steps_in_a_row_stop_the_run_and_spoil_nothing(tmp_path: Path) -> None:
    """The last state is from before; with the samples repaired, the run that goes on is one that never met them."""
    run, poison = Run(tmp_path / "run"), {6: "loss", 7: "gradient", 8: "loss"}
    names = ", ".join(map(str, Regression().drawn(8)))
    with pytest.raises(
        DivergedError, match=rf"none 3 steps in a row; at step 9, loss is inf. Samples: {names}; .*ledger"
    ):
        fit(Regression(poison=poison), CONFIG, run, resume=False, name="poisoned")
    assert [row["step"] for row in read_rows(run.ledger_file)] == [7, 8, 9]
    task, healthy = Regression(), Regression()
    assert run.restore(task.module, torch.optim.AdamW(task.parameter_groups())) == 4
    fit(task, CONFIG, run, resume=True, name="repaired")
    fit(healthy, CONFIG, Run(tmp_path / "healthy"), resume=False, name="healthy")
    assert parameters_equal(task, healthy)
    assert read_rows(run.ledger_file) == []


def test_two_in_a_row_are_borne_however_often(tmp_path: Path) -> None:
    poison = dict.fromkeys((1, 2, 4, 5, 7, 8, 10, 11), "loss")
    assert fit(Regression(poison=poison), CONFIG, Run(tmp_path), resume=False, name="poisoned") == 12
    assert len(read_rows(Run(tmp_path).ledger_file)) == 8


def test_memory_does_not_grow_with_steps(tmp_path: Path) -> None:
    """No tensor is left behind by a step: as many are alive after 400 steps as after 200."""
    alive = []

    class Counting(Regression):
        def validate(self) -> dict[str, float]:
            self.weights.clear()
            gc.collect()
            alive.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
            return {}

    config = LoopConfig(steps=400, accumulate=2, validate_every=100, save_every=400, log_every=50)
    fit(Counting(poison={250: "loss", 333: "gradient"}), config, Run(tmp_path), resume=False, name="long")
    assert len(set(alive[1:])) == 1, alive
