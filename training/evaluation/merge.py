"""The parts of a sharded run as one run, with exactly the score of one process; of a single run, its score anew."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data.benchmarks.catalogue import CATALOGUE
from training.engine.files import ResumeError, write_text
from training.evaluation.answers import Answer, read_answers
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.report import Report
from training.evaluation.run import items_hash, write_report
from training.evaluation.watched import read_watched


def merge(folders: Sequence[Path], output: Path) -> Report:
    """Join the answers of all parts by id and sum them up in `output`.

    Raises ResumeError where the folders are not all the parts of one run, DataError where its data is gone.
    """
    runs = [read_run(folder) for folder in folders]
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        for key in ("benchmark", "data_sha256", "model_sha256", "prompts_sha256", "num_frames", "seed", "letters"):
            if run[key] != first[key]:
                raise ResumeError(f"{folder} is of another run: {key} is {run[key]!r}, {first[key]!r} in {folders[0]}.")
    shards = sorted(tuple(run["shard"]) for run in runs)
    if shards != [(i, len(runs)) for i in range(1, len(runs) + 1)]:
        given = ", ".join(f"{i}/{n}" for i, n in shards)
        raise ResumeError(f"expected every part of one run exactly once, got {given}. Give all its folders.")
    benchmark, data = benchmark_by_name(first["benchmark"]), Path(first["data"])
    items = list(benchmark.read(data))
    if items_hash(items) != first["data_sha256"]:
        raise ResumeError(f"{data} has changed since the run: its questions have another hash. Restore it.")
    answers: dict[tuple[str, str], Answer] = {}
    for folder in folders:
        answers |= {(answer.control, answer.id): answer for answer in read_answers(folder / "answers.jsonl")}
    for control in {control for control, _ in answers}:
        if missing := [item.id for item in items if (control, item.id) not in answers]:
            raise ResumeError(
                f"{len(missing)} answers under '{control}' are missing, the first to '{missing[0]}'. Finish all parts."
            )
    whole = first | {"shard": [1, 1], "sessions": [session for run in runs for session in run["sessions"]]}
    output.mkdir(parents=True, exist_ok=True)
    if (output / "run.json").exists() and read_run(output) != whole:
        raise ResumeError(f"{output} holds another run. Choose another --output.")
    write_text(output / "run.json", json.dumps(whole, indent=2) + "\n")
    write_text(output / "answers.jsonl", "".join(json.dumps(answer.row()) + "\n" for answer in answers.values()))
    _join_watched(folders, output)
    return write_report(output, items, answers, benchmark.exam(None, first["letters"]), of=items, seed=first["seed"])


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder. Raises ResumeError where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        raise ResumeError(f"expected the folder of a run with run.json, found none in '{folder}'.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in ("benchmark", "data_sha256", "model_sha256") if key not in run]
    except (ValueError, TypeError) as error:
        raise ResumeError(f"{path}: expected what a run was made of, in JSON ({error}).") from error
    if missing:
        raise ResumeError(f"{path}: expected what a run was made of, {missing} are missing.")
    if run["benchmark"] in CATALOGUE and CATALOGUE[run["benchmark"]].kind == "retrieval":
        raise ResumeError(f"{folder} holds a retrieval run: it has ranks, and no answers to merge or compare.")
    return run


def _join_watched(folders: Sequence[Path], output: Path) -> None:
    """What was seen, by all parts."""
    rows: dict[str, dict[str, Any]] = {}
    for folder in folders:
        rows |= read_watched(folder / "videos.jsonl")
        for picture in sorted((folder / "frames").glob("*.jpg")):
            (output / "frames").mkdir(exist_ok=True)
            (output / "frames" / picture.name).write_bytes(picture.read_bytes())
    write_text(output / "videos.jsonl", "".join(json.dumps(row) + "\n" for row in rows.values()))
