"""Golden miniatures of the data sets' annotations, one folder a layout, and copies of them with an error in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.data.benchmarks.conftest import copier


@pytest.fixture
def golden(tmp_path: Path) -> Callable[..., Path]:
    return copier(Path(__file__).parent, tmp_path)


@pytest.fixture
def touch() -> Callable[..., None]:
    """Make files that stand for media."""

    def made(root: Path, *names: str) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()

    return made
