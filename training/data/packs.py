"""Packs: one video prefix shared by several answers, so that a medium's tokens are computed once for all its captions.

A pack is a sequence `prefix, branch 1, branch 2, ...`. Every branch sees the prefix and itself, and counts positions on
from the prefix, exactly as if it stood alone. Axes: R rows (packs), S sequence, N labelled tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.prompt import IGNORE_INDEX, Prompt


@dataclass(frozen=True)
class Pack:
    """Prefix ids (P,) and slots (P,) bool, and (ids, labels) of each branch."""

    prefix: Tensor
    is_video: Tensor
    branches: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PackedBatch:
    """Tensors of R packs.

    input_ids, is_video, positions (R, S); mask (R, 1, S, S) bool, True where a query may look; for the labelled tokens:
    row, source (the position whose output predicts it), target id and branch number (N,), counted through the batch.
    """

    input_ids: Tensor
    is_video: Tensor
    positions: Tensor
    mask: Tensor
    row: Tensor
    source: Tensor
    target: Tensor
    branch: Tensor
    num_branches: int


def make_pack(prompts: list[Prompt]) -> Pack:
    """Prompts of one medium -> the prefix they have in common, and what is left of each as a branch.

    The prefix ends before the first labelled token of any prompt. Raises ValueError when the prompts share no start.
    """
    limit = min(int((p.labels != IGNORE_INDEX).nonzero()[0]) for p in prompts)
    shared = 0
    while shared < limit and len({int(p.input_ids[shared]) for p in prompts}) == 1:
        shared += 1
    if not shared:
        raise ValueError("expected prompts with a common start, got prompts that differ in their first token.")
    first = prompts[0]
    return Pack(
        first.input_ids[:shared], first.is_video[:shared], [(p.input_ids[shared:], p.labels[shared:]) for p in prompts]
    )


def collate(packs: list[Pack], pad: int) -> PackedBatch:
    """Packs -> one right-padded batch."""
    length = max(len(p.prefix) + sum(len(ids) for ids, _ in p.branches) for p in packs)
    input_ids = torch.full((len(packs), length), pad)
    is_video = torch.zeros(len(packs), length, dtype=torch.bool)
    positions = torch.zeros(len(packs), length, dtype=torch.long)
    part = torch.full((len(packs), length), -1)  # 0 prefix, 1.. branches, -1 padding
    labelled: list[tuple[int, int, int, int]] = []
    count = 0
    for r, pack in enumerate(packs):
        start = len(pack.prefix)
        input_ids[r, :start], is_video[r, :start] = pack.prefix, pack.is_video
        positions[r, :start] = torch.arange(start)
        part[r, :start] = 0
        at = start
        for number, (ids, labels) in enumerate(pack.branches, start=1):
            end = at + len(ids)
            input_ids[r, at:end], part[r, at:end] = ids, number
            positions[r, at:end] = torch.arange(start, start + len(ids))
            for k in (labels != IGNORE_INDEX).nonzero()[:, 0].tolist():
                source = at + k - 1 if k else start - 1
                labelled.append((r, source, int(labels[k]), count))
            count += 1
            at = end
    order = torch.arange(length)
    mask = (order[:, None] >= order[None, :]) & ((part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None]))
    row, source, target, branch = torch.tensor(labelled).T
    return PackedBatch(input_ids, is_video, positions, mask[:, None], row, source, target, branch, count)
