"""Training in several processes that torchrun starts: every one computes its share of each batch, the first one writes.

All of them draw the same batch and hold the same weights. Features are gathered, so that a contrastive loss sees the
whole batch, and gradients are averaged. In one process all of this changes nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE_DAYS = 7
"""How long the others wait for the first process, which computes features before the training starts."""
T = TypeVar("T")


class ProcessesError(RuntimeError):
    """A command was started in more processes than it can use."""


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun has started, if it has; leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Whether a tensor lies on a GPU or not decides what carries it; NCCL is not started before the first that does.
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, timeout=timedelta(days=PATIENCE_DAYS))
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """Number of processes on this machine, which share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def own_device() -> torch.device:
    """The GPU of this process, by its number on this machine, from now on the current one; the CPU where there is none.

    Raises ProcessesError where there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if processes_here() > torch.cuda.device_count():
        raise ProcessesError(
            f"expected a GPU for each process, got {torch.cuda.device_count()} for {processes_here()}. Start as many "
            "processes as there are GPUs."
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if dist.is_initialized() else 0)
    torch.cuda.set_device(device)
    return device


def only_process(command: str) -> None:
    """Raise ProcessesError for a command in several processes."""
    if world_size() > 1:
        raise ProcessesError(f"{command} runs in one process, got {world_size()}. Start it without torchrun.")


def share(total: int) -> slice:
    """This process's rows of a batch of `total`: every n-th, so that shares differ by one row at most.

    Raises ProcessesError where there are more processes than rows.
    """
    if total < world_size():
        raise ProcessesError(
            f"expected a batch of {world_size()} samples or more for {world_size()} processes, got {total}. Start fewer."
        )
    return slice(rank(), None, world_size())


def on_first(work: Callable[[], T]) -> T:
    """Let the first process work, and all of them have the result, or the error."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = work()
        except Exception as error:  # noqa: BLE001 (raised below, in every process)
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def gather(part: Tensor, total: int) -> Tensor:
    """Rows of this process's share (n, ...) -> the rows of the whole batch (total, ...), in its order.

    The gradient that comes back is the sum of what all processes make of these rows. So the mean over processes of the
    parameters' gradients (`average`) is that of one process with the whole batch, before and after the gathering.
    """
    return part if world_size() == 1 else _Gather.apply(part, total)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, total: int) -> Tensor:
        count = world_size()
        most = -(-total // count)
        padded = part.new_zeros(most, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(count)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]  # row i of process r is row i * count + r of the batch

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[share(len(gradient))], None


def gather_objects(mine: T) -> list[T]:
    """What every process has, in the order of their ranks."""
    if world_size() == 1:
        return [mine]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, mine)
    return found


def mean(value: Tensor) -> Tensor:
    """Mean of a value over all processes, without gradient."""
    value = value.detach()
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= world_size()
    return value


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes. All have gradients of the same parameters, or none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, averaged in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))
