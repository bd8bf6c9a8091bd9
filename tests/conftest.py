"""Options of the whole test-suite."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--video-files",
        metavar="FOLDER",
        default=None,
        help="folder with media/ and truth.jsonl: real files that trouble decoders, and what they hold",
    )


@pytest.fixture(scope="session")
def video_files(request: pytest.FixtureRequest) -> Path:
    """The folder given by --video-files; tests that ask for it are skipped without one."""
    folder = request.config.getoption("--video-files")
    if folder is None:
        pytest.skip("needs --video-files FOLDER (media/ and truth.jsonl)")
    return Path(folder)
