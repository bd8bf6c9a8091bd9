"""The folder of one run of the server: all it may serve from, gone when it ends, swept by the next run after a kill -9."""

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PREFIX = "run-"
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which another run's folder counts as left behind, on systems where its lock cannot be asked."""


@contextlib.contextmanager
def run_folder(parent: Path) -> Iterator[Path]:
    """A fresh folder below `parent`, deleted at the end; folders of runs that are dead are deleted first."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / f"{PREFIX}{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    with open(folder / "lock", "w") as lock:
        hold(lock)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Delete the folders of dead runs: those whose lock nobody holds."""
    for folder in parent.glob(f"{PREFIX}*"):
        if is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_dead(folder: Path) -> bool:
    """The run that made the folder has ended. The system drops a lock with its process, however that ended."""
    try:
        import fcntl
    except ImportError:  # Windows
        return time.time() - folder.stat().st_mtime > ABANDONED_AFTER
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > 60  # a run that is just starting makes it in a moment
    except OSError:
        return False
    return True


def hold(lock: IO[str]) -> None:
    """Mark the run as alive for as long as the file stays open."""
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)


def settle_in(folder: Path) -> None:
    """Make this process work inside the folder: current folder (empty), temporary files, gradio's uploads.

    Gradio takes files in the current and the temporary folder for harmless, so both must hold nothing of the user's.
    """
    start, temporary, uploads = folder / "start", folder / "tmp", folder / "uploads"
    for each in (start, temporary, uploads):
        each.mkdir()
    os.chdir(start)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = str(temporary)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
