"""A run that is meant to be killed. It tells what it does in FOLDER.events: start, saving, writing, written, saved."""

import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import matplotlib.pyplot  # noqa: F401 (as what follows, imported once where runs are forked from, not in each of them)
import torch
import torch._dynamo  # by the first optimizer
from torch import nn

from tests.training.engine.toy import Regression
from training.engine.loop import LoopConfig, StepOutput, fit
from training.engine.run import Run
from training.engine.state import State

CONFIG = LoopConfig(steps=24, accumulate=2, warmup=5, save_every=8, validate_every=12, log_every=1)


def events_file(folder: Path) -> Path:
    return folder.with_suffix(".events")


def tell(folder: Path, what: str, step: int) -> None:
    with events_file(folder).open("a") as file:
        file.write(f"{what} {step} {time.monotonic()}\n")


class Telling(Run):
    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        tell(self.folder, "saving", step)
        super().save(step, module, optimizer)
        tell(self.folder, "saved", step)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        step = super().restore(module, optimizer)
        tell(self.folder, "start", step)
        return step


def telling_write(state: State, path: Path, write: Callable[[State, Path], None] = State.write) -> None:
    tell(path.parent, "writing", state.step)
    write(state, path)
    tell(path.parent, "written", state.step)


class Slow(Regression):
    """Takes some milliseconds a batch, and twelve megabytes of state take longer to save."""

    def __init__(self) -> None:
        super().__init__(poison={11: "loss", 40: "gradient"})
        self.module.append(nn.Embedding(10_000, 100))

    def loss(self, batch: int) -> StepOutput:
        time.sleep(0.003)
        *net, words = self.module
        self.module = nn.Sequential(*net)
        out = super().loss(batch)
        self.module.append(words)
        return StepOutput(out.loss + words.weight[batch].square().mean(), out.tokens, out.metrics, out.samples)


def train(folder: Path) -> None:
    """Start the run, or go on with it."""
    torch.set_num_threads(1)
    with patch.object(State, "write", telling_write):
        fit(Slow(), CONFIG, Telling(folder), resume=True, name=folder.name)
