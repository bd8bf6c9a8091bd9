"""Rules of the house: imports point down, files stay small, nothing happens at import, no machine is named."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {"encoder": set(), "bridge": {"encoder"}, "training": {"encoder", "bridge"}, "app": {"encoder", "bridge"}}
FREE = {"tests", "benchmarks"}
"""May import everything; nothing imports them."""
ONLY_IN = {
    "gradio": ["app"],
    "fastapi": ["app"],
    "decord": ["encoder/video"],
    "av": ["encoder/video"],
    "transformers": ["encoder/backbones", "bridge"],
}
MAX_LINES = 400
INNOCENT = {
    "logging.getLogger", "frozenset", "set", "dict", "tuple", "list", "field", "re.compile", "torch.device", "min", "max",
    "len", "range", "sorted", "bytes.fromhex", ".resolve", "partial",
}  # fmt: skip
"""Functions that a constant may be computed with; making a plain object (`Path(...)`, a config) is innocent too."""
GUILTY = {"ArgumentParser", "Popen"}


def python_files(*packages: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


LIBRARY = python_files(*MAY_IMPORT)
ALL = python_files(*MAY_IMPORT, *FREE)


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.AST, package: str) -> set[str]:
    """Top-level names of everything imported anywhere in a file, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else (node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and dotted(node.func) in {
            "import_module",
            "importlib.import_module",
            "__import__",
        }:
            names |= {str(a.value).split(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return names


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes, an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def law_breaches(tree: ast.AST, path: Path) -> list[str]:
    package = path.parts[0]
    names = imported(tree, package)
    ours = names & (MAY_IMPORT.keys() | FREE)
    breaches = [f"{package} imports {name}" for name in sorted(ours - MAY_IMPORT[package] - {package})]
    for library, places in ONLY_IN.items():
        if library in names and not any(path.is_relative_to(place) for place in places):
            breaches.append(f"{library} is imported outside {' and '.join(places)}")
    return breaches


def import_work(tree: ast.Module) -> list[str]:
    """What a module does while it is imported, beyond defining things: 'line: what'."""
    found: list[str] = []
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MAY_IMPORT:
            own |= {alias.name for alias in node.names}

    def look(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                look(node.body)
            elif isinstance(node, ast.If) and is_guard(node.test):
                look(node.orelse)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Import | ast.ImportFrom | ast.Pass):
                continue
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                look_at_value(node.value)
            elif not isinstance(node, ast.AnnAssign):
                found.append(f"{node.lineno}: {ast.unparse(node).splitlines()[0]}")

    def look_at_value(value: ast.expr) -> None:
        later = {id(inner) for node in ast.walk(value) if isinstance(node, ast.Lambda) for inner in ast.walk(node.body)}
        for node in ast.walk(value):
            if id(node) in later:
                continue
            if isinstance(node, ast.Call) and not is_innocent(node.func, own):
                found.append(f"{node.lineno}: calls {ast.unparse(node)}")
            if dotted(node) in {"os.environ", "sys.argv"}:
                found.append(f"{node.lineno}: reads {dotted(node)}")

    look(tree.body)
    return found


def is_innocent(called: ast.expr, own: set[str]) -> bool:
    """A constructor, a function of ours (it is watched when it runs, see below), or a known innocent."""
    name = dotted(called) or (f".{called.attr}" if isinstance(called, ast.Attribute) else "")
    last = name.split(".")[-1]
    return name in INNOCENT or name in own or (last[:1].isupper() and last not in GUILTY)


def is_guard(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "__name__ == '__main__'"}


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_imports_point_down(path: Path) -> None:
    assert law_breaches(parse(path), path) == []


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        ("encoder/x.py", "import bridge.chat", "encoder imports bridge"),
        ("app/x.py", "from training.data import jsonl", "app imports training"),
        ("bridge/x.py", "def f():\n    from app import page", "bridge imports app"),
        ("training/x.py", "from benchmarks import chat", "training imports benchmarks"),
        ("encoder/model.py", "import transformers", "transformers is imported outside encoder/backbones and bridge"),
        ("training/x.py", "from av.container import open", "av is imported outside encoder/video"),
        ("bridge/x.py", "import importlib\nimportlib.import_module('gradio')", "gradio is imported outside app"),
    ],
)
def test_the_import_law_can_be_broken(path: str, source: str, breach: str) -> None:
    assert law_breaches(ast.parse(source), Path(path)) == [breach]


@pytest.mark.parametrize("path", ALL, ids=str)
def test_files_stay_small(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path} has {lines} lines, at most {MAX_LINES} are allowed: split it by ideas."


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_nothing_happens_at_import(path: Path) -> None:
    assert import_work(parse(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "print('hello')",
        "import os\nHOME = os.environ.get('HOME')",
        "import argparse\nPARSER = argparse.ArgumentParser()",
        "import logging\nlogging.basicConfig()",
        "class A:\n    model = load('mini')",
        "for i in range(3):\n    pass",
        "with open('x') as file:\n    pass",
    ],
)
def test_work_at_import_is_noticed(source: str) -> None:
    assert import_work(ast.parse(source))


WATCHED_IMPORT = """
import importlib, os, sys
modules = sys.argv[1:]
sys.argv = ["prog", "--no-such-option"]
for library in ("torch", "transformers", "peft", "safetensors.torch", "numpy", "PIL.Image", "tqdm", "einops",
                "matplotlib", "gradio", "fastapi", "av", "onnx", "tyro", "bitsandbytes", "gguf", "decord"):
    try:
        importlib.import_module(library)  # what libraries do at import is their affair
    except ImportError:
        pass
import logging
before = dict(os.environ), list(logging.getLogger().handlers), os.listdir(".")
done = []
READ_LATER = (".safetensors", ".onnx", ".gguf", ".json", ".jsonl", ".toml", ".css", ".txt", ".mp4", ".jpg", ".png")

def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and args[0] != os.devnull:
        done.append(f"opens {args[0]} to write")
    elif event == "open" and str(args[0]).endswith(READ_LATER):
        done.append(f"reads {args[0]}")
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "socket.bind", "subprocess.Popen", "os.system"):
        done.append(f"{event} {args[:2]}")

sys.addaudithook(watch)
print("LIBRARIES ARE IN", file=sys.stderr, flush=True)
for module in modules:
    seen = len(done)
    importlib.import_module(module)
    for what in done[seen:]:
        print(module, what, file=sys.stderr, flush=True)
after = dict(os.environ), list(logging.getLogger().handlers), os.listdir(".")
for name, was, now in zip(("environment", "log handlers", "current folder"), before, after):
    if was != now:
        print(f"the {name} changed", file=sys.stderr)
"""


def test_importing_every_module_leaves_no_trace(tmp_path: Path) -> None:
    """No output, no files, no connections, no processes, no reading of arguments, no change of settings."""
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in LIBRARY]
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", WATCHED_IMPORT, *modules],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    of_libraries, _, ours = done.stderr.partition("LIBRARIES ARE IN\n")
    assert (done.returncode, done.stdout, ours) == (0, "", ""), of_libraries


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_our_packages_are_the_ones_that_are_imported(package: str) -> None:
    """Their names are common: another project's `training` must not come first."""
    module = __import__(package)
    assert Path(list(module.__path__)[0]).resolve() == ROOT / package


def test_no_machine_is_named() -> None:
    """The repository works where it is cloned: no path of a developer's machine in it."""
    machine = re.compile(r"(?<![\w.}])/(?:work|root|home/\w+|Users/\w+|opt/wheels)/|\.\./shar" + r"ed\b")
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git clone: it tells the project's files from others")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    named = []
    for name in listed:
        path = ROOT / name
        if not path.is_file() or path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures, clips, weights
        named += [
            f"{name}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if machine.search(line)
        ]
    assert named == []
