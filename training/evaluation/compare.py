"""Two runs on the same questions: the difference, its interval, its p-value, and the questions that flipped."""

from dataclasses import dataclass
from pathlib import Path

from training.data.items import Item
from training.engine.files import ResumeError
from training.evaluation.answers import read_answers
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.merge import read_run
from training.evaluation.run import items_hash
from training.evaluation.statistics import paired_gap, sign_flip_test


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B minus A in one score. `flips`: (item, A's score, B's score) where they differ; items answered by both."""

    name: str
    a: float
    b: float
    difference: float
    ci95: tuple[float, float]
    p_value: float
    n: int
    flips: list[tuple[Item, float, float]]


def compare(a: Path, b: Path, *, control: str = "full", seed: int = 0) -> list[Comparison]:
    """Compare the headline scores of two folders under a control, item by item; failed items count as zero in both.

    Raises ResumeError where the runs asked different questions, or one has no complete answers under the control.
    """
    runs = read_run(a), read_run(b)
    for key in ("benchmark", "data_sha256", *(("seed",) if control != "full" else ())):
        if runs[0][key] != runs[1][key]:
            raise ResumeError(f"{a} and {b} asked different questions: {key} is {runs[0][key]!r} and {runs[1][key]!r}.")
    benchmark = benchmark_by_name(runs[0]["benchmark"])
    items = list(benchmark.read(Path(runs[0]["data"])))
    if items_hash(items) != runs[0]["data_sha256"]:
        raise ResumeError(f"{runs[0]['data']} has changed since the runs: its questions have another hash. Restore it.")
    exam = benchmark.exam(None, False)
    scored = []
    for folder in (a, b):
        answers = {x.id: x for x in read_answers(folder / "answers.jsonl") if x.control == control}
        if missing := [item.id for item in items if item.id not in answers]:
            raise ResumeError(f"{folder} lacks {len(missing)} answers under '{control}', the first of '{missing[0]}'.")
        scored.append(
            [{} if answers[item.id].status == "failed" else exam.score(item, answers[item.id]) for item in items]
        )
    comparisons = []
    clusters = [item.cluster for item in items]
    for name in exam.headline:
        ours, theirs = ([row.get(name, 0.0) for row in rows] for rows in reversed(scored))
        difference, interval = paired_gap(ours, theirs, clusters, seed=seed)
        comparisons.append(
            Comparison(
                name=name, a=sum(theirs) / len(items), b=sum(ours) / len(items), difference=difference, ci95=interval,
                p_value=sign_flip_test(ours, theirs, clusters, seed=seed), n=len(items),
                flips=[(i, x, y) for i, x, y in zip(items, theirs, ours, strict=True) if x != y],
            )
        )  # fmt: skip
    return comparisons
