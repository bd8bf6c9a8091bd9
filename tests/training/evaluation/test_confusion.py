"""The picture of which class is taken for which."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluation.confusion import MOST_NAMED, confusion_matrix, draw_confusion


def test_rows_are_labels_and_columns_predictions() -> None:
    pairs = [("a", "a"), ("a", "c"), ("a", "c"), ("c", "b")]
    assert confusion_matrix(("a", "b", "c"), pairs).tolist() == [[1, 0, 2], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("count", [3, MOST_NAMED + 1])
def test_the_darkest_places_are_where_the_counts_are(tmp_path: Path, count: int) -> None:
    """A class without a video is a white row, and many classes stand without their names."""
    classes = [f"class {i}" for i in range(count)]
    path = tmp_path / "confusion.png"
    draw_confusion(path, classes, np.zeros((count, count), dtype=np.int64))
    empty = np.asarray(Image.open(path).convert("L"), dtype=int)
    matrix = np.zeros((count, count), dtype=np.int64)
    matrix[0, 0] = 4
    draw_confusion(path, classes, matrix)
    drawn = np.asarray(Image.open(path).convert("L"), dtype=int)
    assert drawn.shape == empty.shape
    rows, columns = np.nonzero(empty - drawn > 100)
    assert len(rows) > 20, "one square is dark"
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(height - width) <= 3, "a single square"
    assert rows.max() < empty.shape[0] / 2, "at the upper left"
    assert columns.max() < empty.shape[1] / 2
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]
