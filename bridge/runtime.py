"""Which device, dtype and number of threads: measured once on a CPU, since flags and datasheets mislead.

On one CPU with avx512_bf16 a bf16 matrix product ran four times as fast as fp32, on another with the same flag half as fast.
"""

import hashlib
import json
import logging
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from encoder.runtime import cache_dir, default_device

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BUDGET = 4.0
"""Seconds that all measurements together may take."""
GIVE_UP = 1.5
"""A candidate this many times slower than the best one so far is left in the middle of its run."""
ROUNDS = 4
ENCODE_WORK, PREFILL_WORK, DECODED_TOKENS = 100e9, 30e9, 40
"""What one answer costs mini: multiply-add operations times two, and tokens."""
DECODE_WEIGHTS = 135e6
"""Weights read for one token."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a chat model computes. `threads` None leaves torch's number as it is."""

    device: torch.device = torch.device("cpu")
    llm_dtype: torch.dtype = torch.float32
    encoder_dtype: torch.dtype = torch.float32
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds that one answer's parts take with a dtype and a number of threads; infinite where the run was left."""

    dtype: str
    threads: int
    encode: float
    prefill: float
    decode: float


def find_runtime() -> Runtime:
    """bf16 (else fp16) on CUDA; else what find_cpu_runtime says."""
    device = default_device()
    if device.type == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return Runtime(device=device, llm_dtype=dtype, encoder_dtype=dtype)
    return find_cpu_runtime()


def find_cpu_runtime() -> Runtime:
    """The fastest dtypes and number of threads of this CPU, measured once per CPU and torch version.

    Where OMP_NUM_THREADS is set, its number of threads is used. The measurements lie in cache_dir()/runtime.json; those
    made under heavy load are used once and not kept.
    """
    file, counts = cache_dir() / "runtime.json", thread_counts()
    key = f"{cpu_name()} | torch {torch.__version__} | threads {counts}"
    known = _read(file)
    if key not in known:
        speeds = measure(counts)
        if os.getloadavg()[0] > 1.5 * physical_cores():
            log.warning("This machine is busy: its speed will be measured again at the next start.")
            return choose(speeds)
        known[key] = speeds
        rows = {name: [asdict(speed) for speed in measured] for name, measured in known.items()}
        partial = file.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        partial.replace(file)
    return choose(known[key])


def use_threads(runtime: Runtime) -> None:
    """Set torch's number of threads, for the whole process."""
    if runtime.threads is not None and runtime.threads != torch.get_num_threads():
        torch.set_num_threads(runtime.threads)


def choose(speeds: list[Speed]) -> Runtime:
    """The number of threads with the shortest whole answer, each part in its own best dtype."""

    def llm(speed: Speed) -> float:
        return speed.prefill + speed.decode

    best: tuple[float, Runtime] | None = None
    for threads in sorted({speed.threads for speed in speeds}):
        those = [speed for speed in speeds if speed.threads == threads]
        for_llm, for_encoder = min(those, key=llm), min(those, key=lambda speed: speed.encode)
        total = llm(for_llm) + for_encoder.encode
        if best is None or total < best[0]:
            best = (
                total,
                Runtime(llm_dtype=DTYPES[for_llm.dtype], encoder_dtype=DTYPES[for_encoder.dtype], threads=threads),
            )
    if best is None:
        raise ValueError("expected at least one measurement, got none.")
    return best[1]


def measure(counts: list[int], *, budget: float = BUDGET) -> list[Speed]:
    """Time stand-ins of an answer's parts in fp32 and bf16 with each number of threads. torch's number is put back."""
    before, deadline = torch.get_num_threads(), time.perf_counter() + budget
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(1536, 1536, generator=generator) - 0.5 for _ in range(10)]  # 94 MB: more than a core's cache
    patches, prompt = torch.rand(1028, 1536, generator=generator), torch.rand(96, 1536, generator=generator)
    best = {"encode": float("inf"), "prefill": float("inf"), "decode": float("inf")}
    speeds = []
    try:
        with torch.inference_mode():
            for dtype in (torch.float32, torch.bfloat16):
                weights = [layer.to(dtype) for layer in layers]
                for threads in counts:
                    torch.set_num_threads(threads)
                    seconds = {}
                    for part, x, used, share in (
                        ("encode", patches, weights[:1], ENCODE_WORK / (2 * patches.shape[0] * 1536**2)),
                        ("prefill", prompt, weights[:3], PREFILL_WORK / (2 * 3 * 96 * 1536**2)),
                        ("decode", prompt[:1], weights, DECODED_TOKENS * DECODE_WEIGHTS / (10 * 1536**2)),
                    ):
                        seconds[part] = share * _time(x.to(dtype), used, best[part] * GIVE_UP / share, deadline)
                        best[part] = min(best[part], seconds[part])
                    speeds.append(Speed(dtype=str(dtype).removeprefix("torch."), threads=threads, **seconds))
    finally:
        torch.set_num_threads(before)
    log.info("measured %s", "; ".join(_line(speed) for speed in speeds))
    return speeds


def _time(x: torch.Tensor, weights: list[torch.Tensor], limit: float, deadline: float) -> float:
    """The shortest of some rounds through `weights` in seconds; infinite when every round passes `limit` or the deadline."""
    shortest = float("inf")
    for n in range(ROUNDS):
        started = time.perf_counter()
        for weight in weights:
            F.linear(x, weight)
            now = time.perf_counter()
            if now > deadline or (n > 0 and now - started > limit):  # the first round warms up
                return shortest
        shortest = min(shortest, now - started)
    return shortest


def thread_counts() -> list[int]:
    """Numbers of threads worth trying: one, and every physical core; only $OMP_NUM_THREADS where that is set."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return [int(chosen)]
    cores = physical_cores()
    return sorted({1, min(2, cores), cores})


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pairs, package = set(), ""
    for name, value in _cpu_facts():
        if name == "physical id":
            package = value
        elif name == "core id":
            pairs.add((package, value))
    return max(1, min(allowed, len(pairs) or allowed))


def cpu_name() -> str:
    """The CPU's model and a digest of its flags: hypervisors hide the model's number."""
    facts = dict(_cpu_facts())
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = facts.get("flags") or facts.get("Features") or ""
    return f"{name} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def _cpu_facts() -> list[tuple[str, str]]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines) if name.strip()]


def _read(file: Path) -> dict[str, list[Speed]]:
    if not file.exists():
        return {}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {name: [Speed(**speed) for speed in measured] for name, measured in rows.items()}
    except (ValueError, TypeError, AttributeError):  # not JSON, or other JSON
        log.warning("%s holds no measurements: measuring again.", file)
        return {}


def _line(speed: Speed) -> str:
    parts = f"encode {speed.encode:.2f} s, prefill {speed.prefill:.2f} s, decode {speed.decode:.2f} s"
    return f"{speed.dtype} x {speed.threads}: {parts}"
