"""The folder of one run of the server: all it may serve from, gone when it ends, swept by the next run after a kill -9."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

PREFIX = "run-"
STARTING = 60.0
"""Seconds for which a folder without a lock counts as that of a run that is about to make it."""


@contextlib.contextmanager
def run_folder(parent: Path) -> Iterator[Path]:
    """A fresh folder below `parent`, deleted at the end; folders of runs that are dead are deleted first."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = parent / f"{PREFIX}{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # marks the run as alive for as long as the file stays open
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
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > STARTING
    except OSError:
        return False
    return True


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
