"""Data sets of a few short clips, and the presets in toy size. Imports are late: most tests beside need none of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.training.shared_reader import SharedReader


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from tests.training.layouts import write_clips

    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP and its tokenizer, as transformers saves them."""
    from tests.training.towers import save_tiny_clip

    return save_tiny_clip(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def tiny_towers(monkeypatch: pytest.MonkeyPatch, clip_folder: Path) -> None:
    """Every preset in toy size, for this test."""
    from tests.training.towers import use_tiny_towers

    use_tiny_towers(monkeypatch, clip_folder)


@pytest.fixture
def data_set(tmp_path: Path, clips: list[Path]) -> Callable[[str], Path]:
    """The folder of a data set of LAYOUTS."""
    from tests.training.layouts import LAYOUTS

    def made(name: str) -> Path:
        folder = tmp_path / name
        LAYOUTS[name](folder, clips)
        return folder

    return made


@pytest.fixture(scope="session")
def one_reader() -> "Iterator[SharedReader]":
    from tests.training.shared_reader import SharedReader

    reader = SharedReader()
    yield reader
    reader.close()


@pytest.fixture
def shared_reader(one_reader: "SharedReader", monkeypatch: pytest.MonkeyPatch) -> "SharedReader":
    """What every thread reads with in this test."""
    from training.data import reader_threads

    monkeypatch.setattr(reader_threads, "FrameReader", lambda: one_reader)
    return one_reader
