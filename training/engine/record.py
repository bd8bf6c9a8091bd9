"""recipe.json in an output folder: what is trained there, on what and from what. No other training goes on in it.

environment.json beside it: with which code, versions and machine each start went on.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from encoder.provenance import git_commit, versions
from training.engine.distributed import world_size
from training.engine.files import ResumeError, write_text
from training.engine.run import has_state

RECORD_FILE = "recipe.json"
ENVIRONMENT_FILE = "environment.json"
MAY_DIFFER = (
    "steps", "branch_steps", "epochs", "save_every", "validate_every", "log_every", "threads", "workers", "max_unreadable",
    "expected", "data", "start",
)  # fmt: skip
"""Not compared on resume: lengths of the last part, limits, notes, and the names of what is compared by content."""
PACKAGES = ("torch", "transformers", "peft", "safetensors", "numpy", "av", "decord")
"""Packages whose versions are noted down."""


def recorded(output: Path) -> dict[str, Any]:
    """What recipe.json says, empty where there is none. Raises ResumeError where it is not JSON."""
    return _read(output / RECORD_FILE)


def describe(task: str, recipe: Any, data: list[Path], start: Path | None) -> dict[str, Any]:
    """A training as it is recorded. `start` is the folder that it starts from, None for fresh weights."""
    weights = sorted(start.rglob("*.safetensors")) if start else []
    return {
        "task": task,
        **asdict(recipe),
        "data": [str(path) for path in data],
        "data_sha256": _digests(data),
        "start": start and str(start),
        "start_sha256": _digests(weights),
        "processes": world_size(),
    }


def claim(output: Path, training: Mapping[str, Any], *, resume: bool) -> None:
    """Write recipe.json into a folder without saved states, or into one that holds the same training.

    A folder that is refused stays as it was. Raises FileExistsError where states are saved and `resume` is not asked
    for, ResumeError where they are another training's. What only one of the two records names is not compared.
    """
    training = json.loads(json.dumps(dict(training)))  # as the file gives it back: JSON knows no tuples
    if any(has_state(folder) for folder in output.glob("*/")):
        if not resume:
            raise FileExistsError(
                f"{output} holds a training already. Add --resume to go on with it, or choose another --output."
            )
        before = recorded(output)
        if not before:
            raise ResumeError(
                f"{output} has saved states but no {RECORD_FILE} that says of what. Choose another --output."
            )
        different = [
            f"{key} was {before[key]!r}, is {training[key]!r}"
            for key in sorted(before.keys() & training.keys() - set(MAY_DIFFER))
            if before[key] != training[key]
        ]
        if different:
            raise ResumeError(f"{output} holds another training: {'; '.join(different)}. Choose another --output.")
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / RECORD_FILE, json.dumps(training, indent=2) + "\n")


def note_session(output: Path) -> None:
    """Add to environment.json what this start runs with: command, code, versions, machine. Call it with threads set.

    Raises ResumeError where the file is there and is not JSON.
    """
    path = output / ENVIRONMENT_FILE
    sessions = _read(path).get("sessions", [])
    sessions.append({
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv[1:],
        "git_commit": git_commit(), "versions": versions(PACKAGES), "python": platform.python_version(),
        "system": platform.platform(), "machine": platform.machine(), "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(), "threads": torch.get_num_threads(),
    })  # fmt: skip
    write_text(path, json.dumps({"sessions": sessions}, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise ResumeError(f"{path}: expected JSON ({error}). Choose another --output.") from error


def _digests(files: Iterable[Path]) -> list[str]:
    """The start of each file's SHA-256."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest()[:16])
    return digests
