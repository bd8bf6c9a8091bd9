"""The worker: limited, watched, killed when it must be, and gone afterwards."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encoder.video import VideoError, process, read_frames
from tests.encoder.video.conftest import children

ROOT = Path(__file__).parents[3]


def worker_that(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, os, time; sys.stdin.readline(); {code}"]


@pytest.mark.parametrize("hang", ["time.sleep(60)", "\nwhile True: os.write(2, bytes(1 << 16))"])
def test_hanging_worker_is_killed_in_time(hang: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WORKER", worker_that(hang))
    before, started = children(), time.monotonic()
    with pytest.raises(VideoError, match="took longer than 1 second"):
        read_frames(clip, 2, timeout=1.0)
    assert time.monotonic() - started < 3
    assert children() == before


def test_greedy_worker_is_killed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MEMORY_LIMIT", 100 * 2**20)
    monkeypatch.setattr(process, "WORKER", worker_that("x = b'x' * (300 << 20); time.sleep(60)"))
    with pytest.raises(VideoError, match="too much memory"):
        read_frames(clip, 2)


@pytest.mark.parametrize("death", ["os.abort()", "os._exit(3)", "os.kill(os.getpid(), 9)", "raise SystemError"])
def test_crashing_worker_gives_a_message(death: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WORKER", worker_that(death))
    with pytest.raises(VideoError, match="crashed the decoder"):
        read_frames(clip, 2)


@pytest.mark.parametrize("fault", ["abort_in_decord", "hang_in_decord"])
def test_pyav_reads_what_decord_dies_of(fault: str, faulty: Callable[[str], Path], started: list[int]) -> None:
    """A worker that announces decord and then fails is followed by one that is told to do without it."""
    assert read_frames(faulty(fault), 3, timeout=6.0).info.num_frames == 30
    assert len(started) == 2


def test_worker_starts_without_torch() -> None:
    code = "import encoder.video.worker, encoder.video.reader, sys; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_worker_limits_itself(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are set before the file is touched; that of time counts from each request, and the last one fixes it."""
    code = (
        "import encoder.video.worker as worker, resource; "
        "spent = resource.struct_rusage((1000.0, 1000.0, *[0] * 14)); "
        "worker.resource.getrusage = lambda who: spent; "
        "worker._answer = lambda request, output: "
        "{name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith('RLIMIT_')}; "
        "worker.main()"
    )
    monkeypatch.setattr(process, "WORKER", [sys.executable, "-c", code])
    request: dict[str, Any] = {"path": str(clip), "num_frames": 0, "decord": False}
    worker = process.Worker()
    deadline = time.monotonic() + 15
    try:
        first = worker.answer(request | {"seconds": 500, "last": False}, deadline).facts
        last = worker.answer(request | {"seconds": 5, "last": True}, deadline).facts
    finally:
        worker.stop()
    cores = os.cpu_count() or 1
    assert first["RLIMIT_CPU"] == [2000 + 500 * cores + 2, resource.getrlimit(resource.RLIMIT_CPU)[1]]
    assert last["RLIMIT_CPU"] == [2000 + 5 * cores + 2] * 2
    for limits in (first, last):
        assert limits["RLIMIT_AS"] == [4 << 30] * 2
        assert [limits[f"RLIMIT_{name}"][0] for name in ("FSIZE", "CORE", "NOFILE")] == [0, 0, 64]


def test_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """Even in the middle of a decoder that hangs: nobody is left to kill it."""
    code = (
        "import sys, time; from encoder.video import process; "
        "process.WORKER = [sys.executable, '-c', "
        "'import time; from encoder.video import worker; worker._answer = lambda *_: time.sleep(60); worker.main()']; "
        "worker = process.Worker(); print(worker._process.pid, flush=True); "
        "request = {'path': 'x', 'num_frames': 0, 'decord': False, 'seconds': 60, 'last': True}; "
        "worker.answer(request, time.monotonic() + 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        status = Path(f"/proc/{int(parent.stdout.readline())}/status")
        until(lambda: "Threads:\t2" in status.read_text(), seconds=10)  # the second one watches the parent
        parent.send_signal(signal.SIGKILL)
    until(lambda: not status.exists() or "State:\tZ" in status.read_text(), seconds=5)


def until(happens: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_process_or_descriptor_stays(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    read_frames(clip, 2)
    before = children(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_frames(clip, 2)
        with pytest.raises(VideoError):
            read_frames(tmp_path / "bad.mp4", 2)
    assert (children(), len(os.listdir("/proc/self/fd"))) == before
