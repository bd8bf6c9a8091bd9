"""The command line: instant help, answers on standard output, everything else on standard error."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.presets import CHAT_MODELS
from tests.app.driver import EXAMPLES, ROOT, cut_off

HALL = EXAMPLES / "worker_in_a_hall.mp4"


def run(*arguments: str) -> subprocess.CompletedProcess:
    """`python -m app ...` from the repository, without a network."""
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, env=cut_off(), capture_output=True, text=True, timeout=300)


def test_the_network_is_cut_and_the_model_hub_not_told() -> None:
    """Else nothing here would show that the program needs nobody."""
    reach_out = "import urllib.request as r; r.urlopen('https://huggingface.co', timeout=10)"
    environment = cut_off()
    result = subprocess.run([sys.executable, "-c", reach_out], env=environment, capture_output=True, text=True)
    assert "Connection refused" in result.stderr
    assert "HF_HUB_OFFLINE" not in environment


@pytest.mark.parametrize("command", [["--help"], ["ask", "--help"]])
def test_help_comes_at_once(command: list[str]) -> None:
    started = time.monotonic()
    result = run(*command)
    assert time.monotonic() - started < 1.0
    assert result.returncode == 0
    assert "--model" in result.stdout


def test_questions_are_answered_on_standard_output() -> None:
    question = "What is happening in the video?"
    result = run("ask", str(HALL), question, "What colour is it?")
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


@pytest.mark.parametrize("command", [["ask", str(HALL), "What is this?"], ["--port", "0"]], ids=["ask", "page"])
def test_a_model_that_is_damaged_is_a_message_and_exit_code_1(tmp_path: Path, command: list[str]) -> None:
    model, weights = tmp_path / "download", "encoder.safetensors"
    model.mkdir()
    for part in CHAT_MODELS["mini"].iterdir():
        if part.name == weights:
            (model / weights).write_bytes(part.read_bytes()[:100_000])
        else:
            (model / part.name).symlink_to(part)
    result = run(*command, "--model", str(model))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Cannot load the model" in result.stderr
    assert str(model) in result.stderr
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
