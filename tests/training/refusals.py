"""What a command says to a mistake of the user."""

import pytest


def refused(capsys: pytest.CaptureFixture, code: int, message: str) -> None:
    """A mistake of the user is one line that says what is wrong, and an exit code."""
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert last.startswith("error: ")
    assert message in last
