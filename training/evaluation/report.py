"""From answers to the summary of every control, and what the full model gains over each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.answers import Answer
from training.evaluation.controls import CONTROLS, Question
from training.evaluation.statistics import Summary, paired_gap, summarise


@dataclass(frozen=True, kw_only=True)
class Report:
    """`gaps[control]` = full minus that control on the same items, and its 95 % interval."""

    summaries: dict[str, Summary]
    gaps: dict[str, tuple[float, tuple[float, float]]]


def report_on(questions: Sequence[Question], answers: Mapping[tuple[str, str], Answer], *, seed: int) -> Report:
    """Sum up the controls that have an answer to every question. Items are joined by id and clustered by their own video."""
    clusters = [question.video for question in questions]
    correct: dict[str, list[bool]] = {}
    summaries: dict[str, Summary] = {}
    for control in CONTROLS:
        rows = [answers.get((control, question.id)) for question in questions]
        complete = [row for row in rows if row is not None]
        if len(complete) < len(rows):
            continue
        correct[control] = [row.correct for row in complete]
        failed = sum(row.status == "failed" for row in complete)
        summaries[control] = summarise(correct[control], clusters, failed=failed, seed=seed)
    gaps = {
        control: paired_gap(correct["full"], correct[control], clusters, seed=seed)
        for control in correct
        if control != "full" and "full" in correct
    }
    return Report(summaries=summaries, gaps=gaps)
