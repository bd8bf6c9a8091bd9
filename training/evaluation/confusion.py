"""Which classes are taken for which: a picture of what was recognised in the videos of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.evaluation.answers import read_answers

MOST_NAMED = 60
"""Classes whose names can be read in the picture."""


def confusion_matrix(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """(C, C) int counts of (label, prediction) `pairs`; a row for each label, in the order of the classes."""
    number = {name: i for i, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for label, prediction in pairs:
        matrix[number[label], number[prediction]] += 1
    return matrix


def write_confusion(folder: Path, classes: Sequence[str]) -> None:
    """confusion.png of the answers in the folder of a run, those under `full` that did not fail; none without such."""
    answers = read_answers(folder / "answers.jsonl")
    pairs = [(a.values["label"], a.values["prediction"]) for a in answers if a.control == "full" and a.status == "ok"]
    if pairs:
        draw_confusion(folder / "confusion.png", classes, confusion_matrix(classes, pairs))


def draw_confusion(path: Path, classes: Sequence[str], matrix: np.ndarray) -> None:
    """A PNG of the counts (C, C) as shares of their row; a class without a video is white. Written in one step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 4 + 0.16 * min(len(classes), MOST_NAMED)  # inches
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the videos of a class")
    axes.set_xlabel("recognised as")
    axes.set_ylabel("class")
    if len(classes) <= MOST_NAMED:
        places = range(len(classes))
        axes.set_xticks(places, classes, rotation=90, fontsize=7)
        axes.set_yticks(places, classes, fontsize=7)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        canvas.print_png(file)
    partial.replace(path)
