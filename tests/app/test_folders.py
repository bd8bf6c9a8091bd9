"""A run's folder goes with it, also after kill -9, and a living run's folder is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.folders import run_folder, sweep

ROOT = Path(__file__).resolve().parents[2]
LIVE = "import sys, time; from pathlib import Path; from app.folders import run_folder\nwith run_folder(Path(sys.argv[1])) as f: (f / 'upload').write_text('x'); print('up', flush=True); time.sleep(60)"


def other_run(parent: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", LIVE, str(parent)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    return process


def test_the_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with run_folder(tmp_path) as folder:
        (folder / "upload").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_and_a_living_run_is_not(tmp_path: Path) -> None:
    living, killed = other_run(tmp_path), other_run(tmp_path)
    try:
        assert len(list(tmp_path.glob("run-*/upload"))) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with run_folder(tmp_path):
            assert len(list(tmp_path.glob("run-*/upload"))) == 1
    finally:
        living.kill()
        living.wait()


def test_a_folder_without_a_lock_is_swept_once_it_is_old(tmp_path: Path) -> None:
    fresh, old = tmp_path / "run-fresh", tmp_path / "run-old"
    fresh.mkdir()
    old.mkdir()
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    sweep(tmp_path)
    assert fresh.exists()
    assert not old.exists()


def test_nothing_else_in_the_cache_is_touched(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    with run_folder(tmp_path):
        pass
    assert (tmp_path / "weights").exists()
