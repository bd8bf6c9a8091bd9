"""The README is executed: its tree exists, its make targets exist, its commands answer."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def tree_paths() -> list[str]:
    """Paths of the annotated tree, from its indentation of four spaces."""
    (block,) = [text for language, text in BLOCKS if language == "text"]
    parents: list[str] = []
    paths = []
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 4
        parents = [*parents[:depth], name]
        paths.append("".join(parents))
    return paths


def module_commands() -> list[tuple[str, ...]]:
    """(module,) or (module, subcommand) of every `python -m` line, those of docs/ included."""
    texts = [text for language, text in BLOCKS if language == "sh"]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    found = re.findall(r"^ *python -m ([\w.]+)(?: ([a-z][a-z-]*)\b(?![./]))?", "\n".join(texts), flags=re.MULTILINE)
    return sorted({tuple(filter(None, command)) for command in found})


@pytest.mark.parametrize("path", tree_paths())
def test_every_path_of_the_tree_exists(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"\bmake ([a-z][\w-]*)", "".join(text for _, text in BLOCKS))))
)
def test_every_make_target_exists(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).is_file()


def test_the_commands_that_matter_are_in_the_readme() -> None:
    expected = {("app",), ("app", "ask"), ("training", "align"), ("training", "bridge"), ("training.evaluation", "mcq")}
    assert expected <= set(module_commands())


@pytest.mark.parametrize(
    "command", [*module_commands(), ("training",), ("training.evaluation",), ("benchmarks.chat",)], ids=" ".join
)
def test_every_command_answers_help_at_once(command: tuple[str, ...]) -> None:
    module, *arguments = command
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert f"usage: python -m {' '.join(command)}" in " ".join(done.stdout.split())
        if seconds[-1] < 1.0:
            break
    assert min(seconds) < 1.0, (
        f"--help took {min(seconds):.1f} s: are heavy modules imported before the arguments are read?"
    )


@pytest.mark.parametrize(
    "command",
    [
        ("app", "--share"),
        ("training.evaluation", "mcq", "--data", "a.jsonl", "--output", "run", "--letters"),
        ("training", "align", "--data", "a.jsonl", "--output", "run", "--resume"),
    ],
    ids=" ".join,
)
def test_a_switch_takes_no_value(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command, "False"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "unrecognized arguments: False" in done.stderr


def test_notice_names_every_example_clip_and_every_weight_wheel() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    clips = {path.name for path in (ROOT / "examples").glob("*.mp4")}
    wheels = {line.replace("==", " ") for line in (ROOT / "requirements-mini.txt").read_text().split()}
    assert clips
    assert {name for name in clips | wheels if name not in notice} == set()


def test_every_test_that_the_docs_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()
