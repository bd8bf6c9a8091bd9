"""The command line: instant help, answers on standard output, everything else on standard error."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.driver import EXAMPLES, ROOT


def run(*arguments: str) -> subprocess.CompletedProcess:
    """`python -m app ...` from the repository."""
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", [["--help"], ["ask", "--help"]])
def test_help_comes_at_once(command: list[str]) -> None:
    started = time.monotonic()
    result = run(*command)
    assert time.monotonic() - started < 1.0
    assert result.returncode == 0
    assert "--model" in result.stdout


def test_questions_are_answered_on_standard_output() -> None:
    question = "What is happening in the video?"
    result = run("ask", str(EXAMPLES / "worker_in_a_hall.mp4"), question, "What colour is it?")
    assert result.returncode == 0, result.stderr
    answers = result.stdout.splitlines()
    assert len([line for line in answers if line.strip()]) >= 2
    assert question not in result.stdout
    for fact in ("4.7 s", "15 fps", "480 x 270", "h264"):
        assert fact in result.stderr
        assert fact not in result.stdout


@pytest.mark.parametrize("kind", ["text", "missing", "folder"])
def test_a_file_that_cannot_be_read_is_a_message_and_exit_code_1(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip.mp4"
    if kind == "text":
        path.write_text("not a video\n" * 100)
    if kind == "folder":
        path.mkdir()
    result = run("ask", str(path), "What is this?")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "clip.mp4" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", [["--max-video-seconds", "0"], ["--max-video-mb", "-3"], ["--max-video-mb", "many"]])
def test_a_limit_must_be_a_number_above_zero(option: list[str]) -> None:
    result = run(*option)
    assert result.returncode == 2
    assert option[0] in result.stderr


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "Choose another --port" in result.stderr
    assert "Loading" not in result.stderr
