"""Claim (f), cost: parameters, floating-point operations and time of the branch beside those of the mean of frames."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from encoder.model import MugSTAN

ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one video; operations count a multiplication and an addition as two."""

    parameters: int
    gflop: float
    seconds: float


def costs(encoder: MugSTAN, num_frames: int, dtype: torch.dtype) -> tuple[Cost, Cost]:
    """The mean of frames, and what the branch adds to it, with all tokens returned.

    Seconds are medians of rounds in which both are timed in turn.
    """
    encoder = encoder.to(dtype).requires_grad_(False)  # operations cannot be counted beside gradients
    size = encoder.backbone.transform.size
    video = torch.zeros(1, num_frames, 3, size, size, dtype=dtype)
    tower = [p for name, p in encoder.named_parameters() if not name.startswith(("branch.", "backbone.text"))]
    with torch.inference_mode():
        counts = {}
        for branch in (False, True):
            with FlopCounterMode(display=False) as counter:
                encoder.encode_video(video, branch=branch)
            counts[branch] = counter.get_total_flops() / 1e9
        states = encoder.video_states(video)
        seconds: dict[str, list[float]] = {"tower": [], "finish": [], "branch": []}
        for _ in range(ROUNDS):
            seconds["tower"].append(_timed(lambda: encoder.video_states(video)))
            seconds["finish"].append(_timed(lambda: encoder.encode_states(states, branch=False)))
            seconds["branch"].append(_timed(lambda: encoder.encode_states(states)))
    middle = {name: sorted(values)[ROUNDS // 2] for name, values in seconds.items()}
    mean = Cost(
        parameters=sum(p.numel() for p in tower), gflop=counts[False], seconds=middle["tower"] + middle["finish"]
    )
    branch = Cost(
        parameters=sum(p.numel() for p in encoder.branch.parameters()), gflop=counts[True] - counts[False],
        seconds=middle["branch"] - middle["finish"],
    )  # fmt: skip
    return mean, branch


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
