"""The visible loop: a task gives the loss of step n, the loop does the rest.

Batches and learning rates are pure functions of the step, so a resumed run sees what an unbroken one would have seen.
"""

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.engine.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepOutput:
    """Scalar loss, the number of text tokens or samples it was computed on, and named values for the log."""

    loss: Tensor
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)


class Task(Protocol):
    """What a loss and its metrics must offer the loop."""

    module: nn.Module
    """Holds every trained parameter."""

    def parameter_groups(self) -> list[dict]:
        """AdamW groups: params, lr (the peak), weight_decay."""

    def loss(self, step: int) -> StepOutput:
        """Loss of the batch of this step."""

    def validate(self) -> dict[str, float]:
        """Named values on held-out data."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Lengths in steps."""

    steps: int
    warmup: int = 50
    save_every: int = 100
    validate_every: int = 200
    log_every: int = 10
    max_grad_norm: float = 1.0
    seed: int = 0


def warmup_cosine(step: int, *, warmup: int, total: int) -> float:
    """Share of the peak learning rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def fit(task: Task, config: LoopConfig, run: Run, *, resume: bool, name: str) -> int:
    """Train to `config.steps`; returns the steps done, more than that where a saved state was further.

    Raises FileExistsError when the run folder is in use and `resume` is not asked for.
    """
    if run.state_file.exists() and not resume:
        raise FileExistsError(
            f"{run.folder} holds a run already. Add --resume to go on with it, or choose another --output."
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(task.parameter_groups(), betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    start = run.restore(task.module, optimizer)
    bar = tqdm(total=config.steps, initial=start, desc=name, unit="step", dynamic_ncols=True, mininterval=2)
    since, tokens = time.perf_counter(), 0
    for step in range(start, config.steps):
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout is a function of the step, too
        share = warmup_cosine(step, warmup=config.warmup, total=config.steps)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = share * peak
        out = task.loss(step)
        out.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        if math.isfinite(norm):
            optimizer.step()
        else:
            log.warning("step %d: gradient norm %s, step skipped", step, norm.item())
        optimizer.zero_grad(set_to_none=True)
        tokens += out.tokens
        bar.update()
        done = step + 1
        last = done == config.steps
        if done % config.log_every == 0 or last:
            speed = tokens / (time.perf_counter() - since)
            since, tokens = time.perf_counter(), 0
            bar.set_postfix_str(f"loss {out.loss.item():.3f}, {speed:.0f} tokens/s")
            run.log(
                {
                    "step": done,
                    "loss": out.loss.item(),
                    "grad_norm": norm.item(),
                    "lr_share": share,
                    "tokens_per_second": speed,
                    **out.metrics,
                }
            )
        if done % config.validate_every == 0 or last:
            run.log({"step": done, **{f"val_{k}": v for k, v in task.validate().items()}})
            since = time.perf_counter()
        if done % config.save_every == 0 or last:
            run.save(done, task.module, optimizer)
            run.draw_curves()
    bar.close()
    return max(start, config.steps)
