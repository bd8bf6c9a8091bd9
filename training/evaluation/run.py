"""One evaluation: every question under every control, answers written as they come, and what they add up to."""

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from encoder.video import VideoError
from training.data.items import Item
from training.evaluation.answers import Answer, AnswerLog
from training.evaluation.answers import replace as write_whole
from training.evaluation.benchmarks import Benchmark
from training.evaluation.controls import DEFAULT_CONTROLS, Showing, arranged, showings
from training.evaluation.exam import AnswerError, Exam
from training.evaluation.page import write_page
from training.evaluation.report import Report, report_on, table
from training.evaluation.scorer import Scorer, Seen
from training.evaluation.watched import WatchLog

log = logging.getLogger(__name__)

RECORDED = ("torch", "transformers", "peft", "decord", "av")
Task = tuple[str, Item, Showing]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What to ask of whom. `shard` (i, n) asks the i-th of n parts, counted from one."""

    data: Path
    """What the benchmark's reader takes; video paths are relative to it, or to its folder."""
    model: str = "mini"
    """Name of a chat model, or the folder of a checkpoint."""
    output: Path
    controls: tuple[str, ...] = DEFAULT_CONTROLS
    seed: int = 0
    """Of wrong videos, shuffled frames and options, and confidence intervals."""
    letters: bool = False
    """Let the model also name an option by its letter, for multiple choice."""
    shard: tuple[int, int] = (1, 1)


def run(benchmark: Benchmark, config: RunConfig, *, load: Callable[[str], Scorer]) -> Report:
    """Ask, write, sum up. Goes on where an earlier run in the same folder stopped. `load` turns a name into a scorer.

    Raises DataError for unusable data, ResumeError when the folder holds another run.
    """
    items = benchmark.read(config.data)
    shown = {control: showings(control, items, seed=config.seed) for control in config.controls}
    mine = in_shard(items, config.shard)
    scorer = load(config.model)
    exam = benchmark.exam(scorer, config.letters)
    config.output.mkdir(parents=True, exist_ok=True)
    with AnswerLog(config.output, manifest(benchmark, config, items, scorer, exam)) as answers:
        exam.recall(mine, answers.done.values())
        tasks = [(control, item, shown[control][item.id]) for control in config.controls for item in mine]
        todo = [task for task in tasks if (task[0], task[1].id) not in answers.done]
        root = config.data if config.data.is_dir() else config.data.parent
        with tqdm(total=len(tasks), initial=len(tasks) - len(todo), unit="answer", desc=benchmark.name) as bar:
            for answer in answer_all(scorer, exam, todo, root, WatchLog(config.output), seed=config.seed):
                answers.add(answer)
                bar.update()
        return write_report(config.output, mine, answers.done, exam, seed=config.seed)


def write_report(
    folder: Path, items: Sequence[Item], answers: dict[tuple[str, str], Answer], exam: Exam, *, seed: int
) -> Report:
    """Sum the answers up: summary.json, report.md and report.html."""
    report = report_on(items, answers, exam, seed=seed)
    write_whole(folder / "summary.json", json.dumps(report.summaries, indent=2) + "\n")
    write_whole(folder / "report.md", table(report))
    write_page(folder, items, answers, report, exam)
    return report


def answer_all(
    scorer: Scorer, exam: Exam, tasks: Iterable[Task], root: Path, watched: WatchLog, *, seed: int
) -> Iterator[Answer]:
    """The answers, all tasks about one video together: it is read once, encoded once for each way to show it, and
    what the LLM has read of it serves all its questions."""
    by_part: dict[tuple[str, float | None, float | None], list[Task]] = {}
    for task in tasks:
        showing = task[2]
        by_part.setdefault((showing.video or "", showing.start, showing.end), []).append(task)
    for _, part in sorted(by_part.items(), key=lambda entry: str(entry[0])):
        first = part[0][2]
        if first.video is None:
            seen = Seen(None)
            yield from (_answer(exam, task, seen, seed=seed) for task in part)
            continue
        path = root / first.video
        try:
            frames = scorer.read(path, first.start, first.end)
        except VideoError as error:
            log.warning("%s cannot be shown, %d answers fail: %s", path, len(part), error)
            yield from (_failed(exam, task, str(error)) for task in part)
            continue
        watched.add(first, path, frames)
        ways: dict[tuple[str, bool], list[Task]] = {}
        for task in part:
            ways.setdefault((task[2].frames, task[2].branch), []).append(task)
        for (arrangement, branch), those in ways.items():
            seen = scorer.watch(arranged(frames.pixels, arrangement, seed=seed), branch=branch)
            yield from (_answer(exam, task, seen, seed=seed) for task in those)


def _answer(exam: Exam, task: Task, seen: Seen, *, seed: int) -> Answer:
    control, item, showing = task
    try:
        values, status = exam.ask(control, item, seen, seed=seed)
    except (AnswerError, ValueError) as error:  # a question that does not fit the model, say
        return _failed(exam, task, str(error))
    return Answer(id=item.id, control=control, video=showing.video, values=values, status=status)


def _failed(exam: Exam, task: Task, reason: str) -> Answer:
    control, item, showing = task
    return Answer(
        id=item.id, control=control, video=showing.video, values=exam.blank(item), status="failed", reason=reason
    )


def in_shard(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """The items of part i of n, whole videos each; all parts together are all items."""
    number, count = shard
    place = {video: i for i, video in enumerate(sorted({item.video for item in items}))}
    return [item for item in items if place[item.video] % count == number - 1]


def manifest(
    benchmark: Benchmark, config: RunConfig, items: Sequence[Item], scorer: Scorer, exam: Exam
) -> dict[str, Any]:
    """What a run is made of: a run that goes on must agree in all but names, places and notes."""
    return {
        "benchmark": benchmark.name, "data": str(config.data), "data_sha256": items_hash(items), "model": config.model,
        "model_sha256": scorer.fingerprint(), "num_frames": scorer.num_frames,
        "prompt_sha256": hashlib.sha256(exam.prompt_text().encode()).hexdigest(), "seed": config.seed,
        "letters": config.letters, "shard": list(config.shard), "controls": list(config.controls),
        "command": sys.argv[1:], "git_commit": _git_commit(), "versions": {name: _version(name) for name in RECORDED},
    }  # fmt: skip


def items_hash(items: Sequence[Item]) -> str:
    """SHA-256 of everything that is asked and counts as right."""
    text = "\n".join(json.dumps(asdict(item), sort_keys=True) for item in items)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _git_commit() -> str | None:
    """The commit of this repository, "-dirty" where files differ from it; None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
