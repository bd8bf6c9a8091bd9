"""report.html: for every question the frames that the model saw, the options, the answer and the verdict."""

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.likelihood import OptionScores
from training.data.items import Item
from training.engine.files import write_text
from training.evaluation.answers import Answer
from training.evaluation.choice import form_scores
from training.evaluation.controls import Showing
from training.evaluation.exam import Exam
from training.evaluation.report import Report, tables
from training.evaluation.watched import read_watched, strip_name

TEMPLATE = Path(__file__).parent / "page.html"


def write_page(
    folder: Path,
    items: Sequence[Item],
    answers: Mapping[tuple[str, str], Answer],
    report: Report,
    exam: Exam,
    shown: Mapping[str, Mapping[str, Showing]],
) -> None:
    """One page that needs no network: the numbers, and every answer with the pictures in `folder`/frames beside it."""
    watched = read_watched(folder / "videos.jsonl")
    cards = [
        _card(item, answers[control, item.id], exam, watched.get(strip_name(shown[control][item.id])))
        for control in shown
        for item in items
        if (control, item.id) in answers
    ]
    head, middle, end = re.split("__TABLES__|__ROWS__", TEMPLATE.read_text(encoding="utf-8"))
    # "<" could end or hide the script that the rows stand in, whatever quotes are around it.
    rows = json.dumps(cards).replace("<", "\\u003c")
    write_text(folder / "report.html", f"{head}{''.join(map(_html_table, tables(report)))}{middle}{rows}{end}")


def _html_table(rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{line(rows[0], 'th')}{''.join(line(row, 'td') for row in rows[1:])}</table>\n"


def _card(item: Item, answer: Answer, exam: Exam, seen: Mapping[str, Any] | None) -> dict[str, Any]:
    scores = {} if answer.status == "failed" else exam.score(item, answer)
    verdict = answer.status
    if answer.status == "ok":
        verdict = "right" if all(scores[name] == 1 for name in exam.headline) else "wrong"
    return {
        "id": item.id, "control": answer.control, "video": answer.video, "groups": item.groups, "verdict": verdict,
        "frames": seen and seen["picture"], "times": seen["times"] if seen else [], "question": item.question,
        "options": _options(item, answer), "right": exam.expected(item), "prediction": answer.values.get("prediction"),
        "generated": answer.values.get("generated"), "reason": answer.reason, "scores": scores,
    }  # fmt: skip


def _options(item: Item, answer: Answer) -> list[dict[str, Any]]:
    """Each option with its share: the softmax of the scores that decided."""
    values = answer.values
    if not item.candidates or not values.get("tokens"):
        return [{"text": text, "share": None, "right": i == item.answer} for i, text in enumerate(item.candidates)]
    form = "length_normalised" if answer.control == "no_video" else "corrected"
    scores = form_scores(form, *(_scores(values, key) for key in ("log_likelihood", "log_likelihood_no_video")))
    weights = [math.exp(score - max(scores)) for score in scores]
    return [
        {"text": text, "share": weight / sum(weights), "right": i == item.answer, "chosen": i == values["predicted"]}
        for i, (text, weight) in enumerate(zip(item.candidates, weights, strict=True))
    ]


def _scores(values: Mapping[str, Any], key: str) -> OptionScores:
    return OptionScores(log_likelihood=values[key], tokens=values["tokens"])
