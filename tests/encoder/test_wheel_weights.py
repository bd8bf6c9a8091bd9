"""What is converted once into the cache: whole or not there, and nothing of a killed start stays."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from encoder.backbones.wheel_weights import STALE_AFTER, converted_once

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUGSTAN_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def write(path: Path) -> None:
    path.mkdir()
    (path / "weights").write_text("whole")


def test_a_conversion_is_made_once_and_a_failed_one_leaves_nothing(cache: Path) -> None:
    def fail(path: Path) -> None:
        write(path)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        converted_once("model-v1", fail)
    assert list(cache.iterdir()) == []
    assert converted_once("model-v1", write) == cache / "model-v1"
    assert converted_once("model-v1", fail) == cache / "model-v1"
    assert [p.name for p in cache.iterdir()] == ["model-v1"]
    file = converted_once("file-v1.safetensors", lambda path: path.write_text("whole"))
    assert file.read_text() == "whole"


def test_the_slower_of_two_first_starts_takes_what_the_faster_one_made(cache: Path) -> None:
    def overtaken(path: Path) -> None:
        write(path)
        write(cache / "model-v1")

    assert (converted_once("model-v1", overtaken) / "weights").read_text() == "whole"
    assert [p.name for p in cache.iterdir()] == ["model-v1"]


def test_a_killed_first_start_is_swept_away_by_the_next(cache: Path) -> None:
    code = (
        "import os, signal; from encoder.backbones.wheel_weights import converted_once; "
        "converted_once('model-v1', lambda path: (path.mkdir(), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"MUGSTAN_CACHE": str(cache)})
    assert done.returncode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert (left / "model-v1").is_dir()
    converted_once("model-v1", write)
    assert [p.name for p in cache.iterdir()] == ["model-v1"]


def test_only_what_nobody_is_at_work_on_is_swept(cache: Path, gone: int) -> None:
    here, mine = platform.node(), os.getpid()
    kept = {f"model-v1.{here}.{mine}.abc_1234.partial", f"model-v1.elsewhere.{gone}.abc_1234.partial", "model-v0"}
    before_me = f"model-v1.{here}.{mine}.xyz_5678.partial"  # by an earlier process with my id
    stale = {f"model-v1.{here}.{gone}.abc_1234.partial", before_me}
    old = {f"model-v1.elsewhere.{mine}.abc_1234.partial", f"model-v1.{mine}.partial"}
    for name in kept | stale | old:
        write(cache / name)
    (cache / "file-v1.7.partial").write_text("half")
    os.utime(cache / before_me, times=(0, psutil.Process().create_time() - 60))
    for name in old | {"model-v0", "file-v1.7.partial"}:
        os.utime(cache / name, times=(0, time.time() - STALE_AFTER - 60))
    converted_once("model-v1", write)
    assert {p.name for p in cache.iterdir()} == kept | {"model-v1"}
