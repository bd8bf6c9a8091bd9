"""Golden miniatures of the published formats, one folder a benchmark, and copies of them with an error in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
Changes = dict[str, tuple[str, str] | None]


@pytest.fixture
def golden(tmp_path: Path) -> Callable[..., Path]:
    return copier(HERE, tmp_path)


def copier(miniatures: Path, target: Path) -> Callable[..., Path]:
    """`golden(name)` copies a miniature; `golden(name, {file: (old, new)})` with a text replaced, None takes a file away."""

    def copy(name: str, changes: Changes | None = None) -> Path:
        root = target / name
        shutil.copytree(miniatures / name, root)
        for file, change in (changes or {}).items():
            path = root / file
            if change is None:
                path.unlink()
                continue
            text = path.read_bytes().decode()
            assert change[0] in text, f"{file} holds no {change[0]!r}"
            path.write_bytes(text.replace(*change, 1).encode())
        return root

    return copy
