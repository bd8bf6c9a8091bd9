"""Scores on file: exactly those that were measured, of exactly the encoder that was measured."""

from pathlib import Path

import pytest

from encoder.checkpoints import WEIGHTS_FILE
from training.data.jsonl import DataError
from training.reproduction.record import Record
from training.reproduction.table import Scores

ORDER = {"order": Scores([[1.0, 0.0, 1.0]], ["a.jpg", "a.jpg", "b.jpg"])}


def run(folder: Path, weights: bytes) -> Path:
    (folder / "encoder").mkdir(parents=True, exist_ok=True)
    (folder / "encoder" / WEIGHTS_FILE).write_bytes(weights)
    return folder


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    folder = run(tmp_path / "stan-0", b"one")
    Record(tmp_path / "order.json").add(folder, ORDER)
    found = Record(tmp_path / "order.json").find(folder)
    assert found is not None
    assert found["order"].seeds == ORDER["order"].seeds
    assert found["order"].interval() == ORDER["order"].interval()
    assert found["order"].clusters == ["0", "0", "1"]
    assert "jpg" not in (tmp_path / "order.json").read_text(), "names of files are nobody's business"


def test_a_run_trained_anew_is_measured_anew_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    folder = run(tmp_path / "stan-0", b"one")
    record = Record(tmp_path / "order.json")
    assert record.find(folder) is None
    record.add(folder, ORDER)
    run(folder, b"two")
    assert record.find(folder) is None
    assert record.find(tmp_path / "elsewhere" / "stan-0") is not None
    assert record.find(tmp_path / "elsewhere" / "stan-1") is None


def test_scores_of_other_items_are_refused(tmp_path: Path) -> None:
    record = Record(tmp_path / "order.json")
    record.add(run(tmp_path / "stan-0", b"one"), ORDER)
    with pytest.raises(DataError, match="other items for 'order': expected 3 as they are there, got 2"):
        record.add(run(tmp_path / "stan-1", b"two"), {"order": Scores([[1.0, 0.0]], ["a.jpg", "b.jpg"])})


def test_a_run_that_is_being_trained_anew_does_not_keep_its_old_scores(tmp_path: Path) -> None:
    folder = run(tmp_path / "stan-0", b"one")
    record = Record(tmp_path / "order.json")
    record.add(folder, ORDER)
    (folder / "encoder").rename(folder / "branch")
    assert record.find(folder) is None


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"STAN": {"order": {"mean": 0.5}}, "gaps": {}}')
    with pytest.raises(DataError, match=r"order.json: expected scores by item .* got the keys STAN, gaps. Delete"):
        Record(tmp_path / "order.json")
