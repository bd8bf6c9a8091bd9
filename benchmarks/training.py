"""A training step of mini's branch on tower states: its rate beside that of a matrix product, and memory that it takes."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import best_time, gemm_rate
from encoder.model import MugSTAN, tube_mask
from encoder.presets import create_encoder
from training.dry_run import activation_bytes
from training.tasks.contrastive import contrastive_loss

CLIPS, FRAMES = 16, 8
STEPS = 1000
SMALL_CLIPS, SMALL_FRAMES, MASK = 4, 4, 0.84
SETTLED = 200
"""Steps until the allocator holds what it needs."""


@dataclass(frozen=True, kw_only=True)
class StepRate:
    """Of a step in one dtype: clips a second, and GFLOP/s beside those of a square product in the same dtype."""

    dtype: str
    clips: float
    gflops: float
    gemm: float

    @property
    def share(self) -> float:
        """Of the product's rate."""
        return self.gflops / self.gemm


class Step:
    """Forward, contrastive loss, backward and AdamW of a branch, on random states of the given size."""

    def __init__(self, encoder: MugSTAN, dtype: torch.dtype, *, clips: int, frames: int, mask: float = 0.0) -> None:
        self.encoder, self.dtype, self.mask = encoder, dtype, mask
        self.optimizer = torch.optim.AdamW(encoder.branch.parameters(), lr=1e-5)
        _, positions = encoder.backbone.branch_positions()
        self.states = torch.randn(encoder.branch.depth, clips, frames, *positions.shape)
        self.words = torch.randn(clips, encoder.backbone.embed_dim)
        self.rng = torch.Generator().manual_seed(0)

    def __call__(self) -> None:
        patches = tube_mask(self.states.shape[3] - 1, self.mask, self.rng) if self.mask else None
        context = torch.autocast("cpu", self.dtype) if self.dtype != torch.float32 else nullcontext()
        with context:
            video = self.encoder.encode_states(self.states, patches=patches).video
        similarity = nn.functional.normalize(self.words, dim=-1) @ nn.functional.normalize(video.float(), dim=-1).T
        contrastive_loss(20 * similarity).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def fresh_trainee() -> MugSTAN:
    """Mini with its branch to be trained and everything else frozen."""
    encoder = create_encoder("mini").requires_grad_(False)
    encoder.branch.requires_grad_(True).train()
    return encoder


def measure_rates() -> list[StepRate]:
    """In bf16 and fp32, the faster one first."""
    encoder, rates = fresh_trainee(), []
    for dtype in (torch.bfloat16, torch.float32):
        step = Step(encoder, dtype, clips=CLIPS, frames=FRAMES)
        with FlopCounterMode(display=False) as counter:
            step()
        seconds = best_time(step)
        rates.append(
            StepRate(
                dtype=str(dtype).removeprefix("torch."), clips=CLIPS / seconds,
                gflops=counter.get_total_flops() / seconds / 1e9, gemm=gemm_rate(dtype),
            )
        )  # fmt: skip
    return sorted(rates, key=lambda rate: -rate.clips)


def kept_by_frames(frames: tuple[int, ...] = (4, 8, 16, 32)) -> dict[int, float]:
    """MB that the forward of one clip keeps for its backward, by number of frames."""
    encoder, kept = fresh_trainee(), {}
    for count in frames:
        step = Step(encoder, torch.bfloat16, clips=1, frames=count)
        with torch.autocast("cpu", torch.bfloat16):
            kept[count] = activation_bytes(lambda states=step.states: encoder.encode_states(states).video) / 1e6
    return kept


def memory_over_steps(steps: int = STEPS) -> tuple[float, float]:
    """MB of resident memory after it has settled, and MB that every further step adds: a line through all of them."""
    step = Step(fresh_trainee(), torch.bfloat16, clips=SMALL_CLIPS, frames=SMALL_FRAMES, mask=MASK)
    process, seen = psutil.Process(), []
    for _ in range(steps):
        step()
        seen.append(process.memory_info().rss / 1e6)
    settled = np.array(seen[SETTLED:])
    slope, start = np.polyfit(np.arange(len(settled)), settled, 1)
    return float(start), float(slope)
