"""What the machine can do at best, measured beside what we make of it: a number alone says little."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from bridge.runtime import cpu_name

REPEATS = 5
GEMM_SIDE = 2048
BANDWIDTH_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Best of REPEATS, with as many threads as the model uses."""

    name: str
    cores: int
    threads: int
    gemm: dict[str, float]
    """GFLOP/s of a square matrix product, by dtype."""
    bandwidth: float
    """GB/s of reading one large tensor."""
    load: float
    """Processes that wanted a core in the minute before the measurement."""


def look_at_machine(dtypes: set[torch.dtype], *, load: float) -> Machine:
    """Measure this machine with torch's present number of threads."""
    return Machine(
        name=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        gemm={str(dtype).removeprefix("torch."): gemm_rate(dtype) for dtype in sorted(dtypes, key=str)},
        bandwidth=memory_bandwidth(),
        load=load,
    )


def load_average() -> float:
    """Processes that wanted a core during the last minute; NaN where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def gemm_rate(dtype: torch.dtype, side: int = GEMM_SIDE) -> float:
    """GFLOP/s of a (side, side) by (side, side) product."""
    a, b = torch.rand(side, side).to(dtype), torch.rand(side, side).to(dtype)
    return 2 * side**3 / best_time(lambda: a @ b) / 1e9


def memory_bandwidth(size: int = BANDWIDTH_BYTES) -> float:
    """GB/s of reading `size` bytes, far more than any cache holds."""
    x = torch.ones(size // 4)
    return size / best_time(x.sum) / 1e9


def best_time(work: Callable[[], object]) -> float:
    """Seconds of the fastest of REPEATS, after one that warms up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


class PeakMemory:
    """While entered, watches what this process and its children hold together; `gigabytes` is the most that was seen."""

    def __init__(self, *, every: float = 0.02) -> None:
        self.gigabytes = 0.0
        self._every = every  # seconds
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._left.wait(self._every):
            held = 0
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                    held += one.memory_info().rss
            self.gigabytes = max(self.gigabytes, held / 1e9)
