"""The visible loop: a task gives the loss of batch n, the loop does the rest.

Batches and learning rates are pure functions of the step, so a resumed run sees what an unbroken one would have seen.
"""

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.engine import distributed
from training.engine.run import Run

log = logging.getLogger(__name__)
MAX_SKIPS = 3
"""Steps in a row that come to nothing before the run stops."""
SHOWN = 20
"""Names in a message; the ledger has all of them."""


class DivergedError(ArithmeticError):
    """Losses or gradients stay without a finite value; the message names the samples."""


@dataclass(frozen=True)
class StepOutput:
    """Scalar loss, the number of text tokens or samples it was computed on, and named values for the log.

    `samples` are the names of what the batch is made of, such as paths of media: people look there for the fault when
    the loss is not finite.
    """

    loss: Tensor
    tokens: int
    metrics: dict[str, float] = field(default_factory=dict)
    samples: tuple[str, ...] = ()


class Task(Protocol):
    """What a loss and its metrics must offer the loop."""

    module: nn.Module
    """Holds every trained parameter."""

    def parameter_groups(self) -> list[dict]:
        """AdamW groups: params, lr (the peak), weight_decay."""

    def loss(self, batch: int) -> StepOutput:
        """Loss of the batch of this number, counted from 0. Nothing but the number decides what is in it.

        Of several processes each computes its share of the batch; losses differ, `samples` are those of the whole batch.
        """

    def validate(self) -> dict[str, float]:
        """Named values on held-out data."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Lengths in steps."""

    steps: int
    accumulate: int = 1
    """Batches whose mean gradient makes a step: that of one big batch where a loss is a mean over samples. A contrastive
    loss contrasts within each batch only, and a mean over tokens is taken within each batch."""
    warmup: int = 50
    save_every: int = 100
    validate_every: int = 200
    log_every: int = 10
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"expected one batch or more to accumulate, got {self.accumulate}.")


def warmup_cosine(step: int, *, warmup: int, total: int) -> float:
    """Share of the peak learning rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def fit(task: Task, config: LoopConfig, run: Run, *, resume: bool, name: str) -> int:
    """Train to `config.steps`; returns the steps done, more than that where a saved state was further.

    A step whose loss or gradient is not finite changes nothing and is noted with its samples in the run's ledger.
    Raises FileExistsError when the run folder is in use and `resume` is not asked for, DivergedError after three such
    steps in a row.
    """
    distributed.on_first(lambda: None)  # it may still be saving the state of a fit before this one
    if run.state_file.exists() and not resume:
        raise FileExistsError(
            f"{run.folder} holds a run already. Add --resume to go on with it, or choose another --output."
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(task.parameter_groups(), betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    start = run.restore(task.module, optimizer)
    bar = tqdm(
        total=config.steps, initial=start, desc=name, unit="step", dynamic_ncols=True, mininterval=2,
        disable=distributed.rank() > 0,
    )  # fmt: skip
    since, tokens, skipped, saved = time.perf_counter(), 0, 0, start
    for step in range(start, config.steps):
        share = warmup_cosine(step, warmup=config.warmup, total=config.steps)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = share * peak
        out = accumulated(task, step, config)
        distributed.average(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm).item()
        fault = _fault(out, norm)
        if not fault:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += out.tokens
        bar.update()
        done = step + 1
        last = done == config.steps
        skipped = skipped + 1 if fault else 0
        if fault:
            _note_skip(run, done, fault, out.samples, skipped)
        elif done % config.log_every == 0 or last:
            speed = tokens / (time.perf_counter() - since)
            since, tokens = time.perf_counter(), 0
            bar.set_postfix_str(f"loss {out.loss.item():.3f}, {speed:.0f} tokens/s")
            run.log(
                {
                    "step": done,
                    "loss": out.loss.item(),
                    "grad_norm": norm,
                    "lr_share": share,
                    "tokens_per_second": speed,
                    **out.metrics,
                }
            )
        if done % config.validate_every == 0 or last:
            run.log({"step": done, **{f"val_{k}": v for k, v in task.validate().items()}})
            since = time.perf_counter()
        due = done // config.save_every > saved // config.save_every
        if (due and not skipped) or last:  # never between two skips: a run that goes on counts them from 0
            run.save(done, task.module, optimizer)
            run.draw_curves()
            saved = done
    bar.close()
    return max(start, config.steps)


def accumulated(task: Task, step: int, config: LoopConfig) -> StepOutput:
    """Mean loss of the batches of a step, its gradient, and all their samples.

    A loss that is not finite ends the step: it has no gradient, and the samples are those of its batch alone.
    """
    outputs = []
    for batch in range(step * config.accumulate, (step + 1) * config.accumulate):
        torch.manual_seed(config.seed * 1_000_003 + batch)  # dropout is a function of the batch, too
        out = task.loss(batch)
        value = distributed.mean(out.loss)  # of one mind about a step, all processes skip it or none
        if not math.isfinite(value.item()):
            return replace(out, loss=value)
        (out.loss / config.accumulate).backward()
        outputs.append(replace(out, loss=value))
    return StepOutput(
        loss=torch.stack([out.loss for out in outputs]).mean(),
        tokens=sum(out.tokens for out in outputs),
        metrics=_means([out.metrics for out in outputs]),
        samples=tuple(dict.fromkeys(sample for out in outputs for sample in out.samples)),
    )


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every name over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(v) / len(v) for name, v in values.items()}


def _fault(out: StepOutput, norm: float) -> str:
    """What is not finite about a step; empty where all is well."""
    if not math.isfinite(out.loss.item()):
        return f"loss is {out.loss.item()}"
    return "" if math.isfinite(norm) else f"gradient norm is {norm}"


def _note_skip(run: Run, step: int, fault: str, samples: tuple[str, ...], in_a_row: int) -> None:
    """Into log and ledger. Raises DivergedError when there are too many in a row."""
    names = ", ".join([*samples[:SHOWN], *([f"{len(samples) - SHOWN} more"] if len(samples) > SHOWN else [])])
    log.warning("step %d skipped: %s. Samples: %s", step, fault, names or "unknown")
    run.log_skip(step, fault, samples)
    if in_a_row >= MAX_SKIPS:
        raise DivergedError(
            f"expected a finite loss and gradient, got none {in_a_row} steps in a row; at step {step}, {fault}. Samples: "
            f"{names or 'unknown'}; {run.ledger_file} has all of them. Repair them and --resume, or start anew without "
            "them or with a lower learning rate."
        )
