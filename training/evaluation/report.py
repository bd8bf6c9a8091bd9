"""From answers to the summary of every control, and what the full model gains over each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.items import Item
from training.evaluation.answers import Answer
from training.evaluation.controls import CONTROLS
from training.evaluation.exam import Exam
from training.evaluation.statistics import cluster_bootstrap, paired_gap

Scores = list[dict[str, float]]
"""Of every item, in the items' order."""
LABELS = {"branch_off": "branch_off (diagnostic)"}
"""Controls that need a word beside their name: what was trained in always hurts when it is taken away."""
Gap = tuple[float, tuple[float, float], int]
"""A difference, its 95 % interval, and over how many items it is."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """`summaries[control]` as summary.json holds it; `gaps[control][name]` = full minus that control on the items that
    failed under neither."""

    headline: tuple[str, ...]
    summaries: dict[str, dict[str, Any]]
    gaps: dict[str, dict[str, Gap]]


def report_on(items: Sequence[Item], answers: Mapping[tuple[str, str], Answer], exam: Exam, *, seed: int) -> Report:
    """Sum up the controls that have an answer to every item. Items are joined by id and clustered by their own video.

    A failed item counts as zero in every score that it would have had, and is counted apart; beside a headline score
    stands the same over the items that did not fail. A score that only some items have (whether a number is right, say)
    is over those. A gap is over items that failed on neither side: a video that cannot be read says nothing of what
    seeing it adds.
    """
    clusters = [item.cluster for item in items]
    scores: dict[str, Scores] = {}
    counts: dict[str, dict[str, int]] = {}
    answered: dict[str, list[bool]] = {}
    for control in CONTROLS:
        rows = [answers.get((control, item.id)) for item in items]
        complete = [row for row in rows if row is not None]
        if len(complete) < len(rows):
            continue
        scores[control] = [
            dict.fromkeys(exam.score_names(control, item), 0.0) if row.status == "failed" else exam.score(item, row)
            for item, row in zip(items, complete, strict=True)
        ]
        answered[control] = [row.status != "failed" for row in complete]
        counts[control] = {
            "failed": len(complete) - sum(answered[control]), "unparsed": sum(map(asserts_nothing, complete))
        }  # fmt: skip
        if control == "full":
            for name, values in exam.derived(items, complete).items():
                scores[name], counts[name], answered[name] = list(values), counts[control], answered[control]
    summaries = {
        control: _summary(items, values, answered[control], exam.headline, seed=seed) | counts[control]
        for control, values in scores.items()
    }
    gaps = {}
    for control in scores.keys() - {"full"} if "full" in scores else ():
        both = [a and b for a, b in zip(answered["full"], answered[control], strict=True)]
        gaps[control] = {
            name: _gap(scores["full"], scores[control], name, both, clusters, seed=seed)
            for name in exam.compared
            if any(both) and all(name in row for row in (*scores[control], *scores["full"]))
        }
    gaps = {control: gaps[control] for control in scores if control in gaps}
    return Report(headline=exam.headline, summaries=summaries, gaps=gaps)


def asserts_nothing(answer: Answer) -> bool:
    """Whether no answer could be read in what was written; of multiple choice, no letter, where letters were asked for."""
    return answer.status == "unparsed" or ("parsed" in answer.values and answer.values["parsed"] is None)


def _summary(
    items: Sequence[Item], scores: Scores, answered: Sequence[bool], headline: tuple[str, ...], *, seed: int
) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in scores for name in row))
    summary: dict[str, Any] = {}
    intervals: dict[str, tuple[float, float]] = {}
    others: dict[str, dict[str, Any]] = {}
    for name in names:
        known = [(row[name], item.cluster) for row, item in zip(scores, items, strict=True) if name in row]
        mean = sum(value for value, _ in known) / len(known)
        interval = cluster_bootstrap([value for value, _ in known], [video for _, video in known], seed=seed)
        if name in headline:
            summary[name], intervals[name] = mean, interval
        else:
            others[name] = {"value": mean, "ci95": interval, "n": len(known)}
    if 0 < sum(answered) < len(items):
        for name in headline:
            known = [(row[name], x.cluster) for row, x, ok in zip(scores, items, answered, strict=True) if ok]
            interval = cluster_bootstrap(*map(list, zip(*known, strict=True)), seed=seed)
            mean = sum(value for value, _ in known) / len(known)
            others[f"{name}, not failed"] = {"value": mean, "ci95": interval, "n": len(known)}
    summary["ci95"] = intervals[headline[0]] if len(headline) == 1 else intervals
    summary["n"] = len(items)
    if others:
        summary["scores"] = others
    if groups := _groups(items, [row[headline[0]] for row in scores]):
        summary["groups"] = groups
    return summary


def _groups(items: Sequence[Item], values: Sequence[float]) -> dict[str, Any]:
    """Of every way to group the items: the mean of each group, and the mean of those means."""
    found: dict[str, dict[str, list[float]]] = {}
    for item, value in zip(items, values, strict=True):
        for kind, group in item.groups.items():
            found.setdefault(kind, {}).setdefault(group, []).append(value)
    return {
        kind: {
            "mean": sum(sum(v) / len(v) for v in groups.values()) / len(groups),
            "of": {group: {"value": sum(v) / len(v), "n": len(v)} for group, v in sorted(groups.items())},
        }
        for kind, groups in found.items()
    }


def _gap(ours: Scores, theirs: Scores, name: str, both: Sequence[bool], clusters: Sequence[str], *, seed: int) -> Gap:
    rows = [(a[name], b[name], cluster) for a, b, cluster, ok in zip(ours, theirs, clusters, both, strict=True) if ok]
    return *paired_gap(*map(list, zip(*rows, strict=True)), seed=seed), len(rows)


def tables(report: Report) -> list[list[list[str]]]:
    """The report as tables of cells, a head row first: controls and gaps, and where there are any, other scores and
    groups."""
    names = report.headline
    controls = [["control", *(f"{name} (95 % interval)" for name in names), "n", "failed", "unparsed"]]
    others: list[list[str]] = []
    for control, summary in report.summaries.items():
        intervals = {names[0]: summary["ci95"]} if len(names) == 1 else summary["ci95"]
        cells = [_with_interval(summary[name], intervals[name], "") for name in names]
        controls.append(
            [LABELS.get(control, control), *cells, *(str(summary[key]) for key in ("n", "failed", "unparsed"))]
        )
    for control, gaps in report.gaps.items():
        if not gaps:
            continue
        cells = [_with_interval(*gaps[name][:2], "+") for name in names]
        controls.append([f"full - {LABELS.get(control, control)}", *cells, str(gaps[names[0]][2]), "", ""])
        others += [
            [f"full - {control}", name, _with_interval(gap, interval, "+"), str(n)]
            for name, (gap, interval, n) in gaps.items()
            if name not in names
        ]
    others += [
        [control, name, _with_interval(score["value"], score["ci95"], ""), str(score["n"])]
        for control, summary in report.summaries.items()
        for name, score in summary.get("scores", {}).items()
    ]
    groups = [
        [kind, group, f"{score['value']:.3f}", str(score["n"])]
        for kind, found in report.summaries.get("full", {}).get("groups", {}).items()
        for group, score in [*found["of"].items(), ("mean of these", {"value": found["mean"], "n": len(found["of"])})]
    ]
    return [
        controls,
        *([[["control", "other score", "value (95 % interval)", "n"], *others]] if others else []),
        *([[["kind", "group", names[0], "n"], *groups]] if groups else []),
    ]


def table(report: Report) -> str:
    """The report in Markdown."""
    return "\n".join(
        "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))
        for head, *rows in tables(report)
    )


def _with_interval(value: float, interval: tuple[float, float], sign: str) -> str:
    low, high = interval
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
