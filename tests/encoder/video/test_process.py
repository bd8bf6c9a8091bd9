"""The worker: limited, watched, killed when it must be, and gone afterwards."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from encoder.video import VideoError, process, read_frames

ROOT = Path(__file__).parents[3]


def worker_that(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, os, time; sys.stdin.read(); {code}"]


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_hanging_worker_is_killed_in_time(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WORKER", worker_that("time.sleep(60)"))
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


@pytest.mark.parametrize("fault", ["os.abort()", "time.sleep(60)"])
def test_pyav_reads_what_decord_dies_of(fault: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that announces decord and then fails is followed by one that is told to do without it."""
    script = (
        "import json, os, runpy, struct, sys, time; request = sys.stdin.read(); "
        f"mark = struct.pack('<II', {process.DECORD_STARTS}, 0); "
        f"decord = json.loads(request)['decord']; os.write(1, mark) if decord else None; {fault} if decord else None; "
        "import io; sys.stdin = io.TextIOWrapper(io.BytesIO(request.encode())); "
        "runpy.run_module('encoder.video.worker', run_name='__main__')"
    )
    monkeypatch.setattr(process, "WORKER", [sys.executable, "-c", script])
    assert read_frames(clip, 3, timeout=6.0).info.num_frames == 30


def test_worker_starts_without_torch() -> None:
    code = "import encoder.video.worker, encoder.video.reader, sys; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_worker_limits_itself(clip: Path) -> None:
    """Limits are set before the file is touched: the request alone makes them."""
    request: dict[str, Any] = {"path": str(clip), "num_frames": 0, "decord": False, "seconds": 5}
    code = (
        "import encoder.video.worker as worker, resource, sys; worker._answer = lambda request, output: "
        "{name: resource.getrlimit(getattr(resource, name))[0] for name in dir(resource) if name.startswith('RLIMIT_')}; "
        "worker.main()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(request).encode(), capture_output=True, check=True)
    limits = json.loads(done.stdout[process.RECORD.size :])
    assert limits["RLIMIT_AS"] == 4 << 30
    assert 0 < limits["RLIMIT_CPU"] <= 5 * (os.cpu_count() or 1) + 2
    assert (limits["RLIMIT_FSIZE"], limits["RLIMIT_CORE"], limits["RLIMIT_NOFILE"]) == (0, 0, 64)


def test_no_process_or_descriptor_stays(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    read_frames(clip, 2)
    before = children(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_frames(clip, 2)
        with pytest.raises(VideoError):
            read_frames(tmp_path / "bad.mp4", 2)
    assert (children(), len(os.listdir("/proc/self/fd"))) == before
