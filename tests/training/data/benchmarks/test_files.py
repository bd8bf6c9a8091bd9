"""Rows of files that are nearly, but not quite, what they should be."""

import logging
from pathlib import Path

import pytest

from training.data.benchmarks.files import Row, by_id, find_file, find_medium, json_rows, read_object, table_rows
from training.data.jsonl import DataError


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("text", ['[{"a": 1},\n {"a": 2}]', '{"a": 1}\n\n{"a": 2}\n', '\ufeff{"a": 1}\r\n{"a": 2}'])
def test_lists_and_lines_are_told_apart_by_content(tmp_path: Path, text: str) -> None:
    for name in ("rows.json", "rows.jsonl"):
        rows = json_rows(write(tmp_path / name, text), ["a"])
        assert [row.cells for row in rows] == [{"a": 1}, {"a": 2}]
        assert [row.where.rpartition(": ")[2] for row in rows] == ["row 1", "row 2"]


def test_a_line_separator_inside_of_a_text_does_not_end_a_row(tmp_path: Path) -> None:
    rows = json_rows(write(tmp_path / "a.jsonl", '{"a": "one\u2028two"}\n{"a": "three"}'), ["a"])
    assert [row.text("a") for row in rows] == ["one\u2028two", "three"]


def test_rows_say_where_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n1,"two\nlines"\n\n3,four\n')
    assert [(row.where, row.cells) for row in table_rows(path, ["a", "b"])] == [
        (f"{path}:3", {"a": "1", "b": "two\nlines"}),
        (f"{path}:5", {"a": "3", "b": "four"}),
    ]
    lines = json_rows(write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}'), ["a"])
    assert [row.where for row in lines] == [f"{tmp_path}/a.jsonl:1: row 1", f"{tmp_path}/a.jsonl:3: row 2"]
    rows = json_rows(write(tmp_path / "a.json", '[\n{"a": 1}, {"a":\n2},\n{"a": 3}]'), ["a"])
    assert [row.where for row in rows] == [
        f"{tmp_path}/a.json:{place}" for place in ("2: row 1", "2: row 2", "4: row 3")
    ]


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "b,a\r\n2,1\r\n")
    assert table_rows(path, ["a", "b"])[0].cells == {"a": "1", "b": "2"}


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json:2: expected UTF-8, got the byte 0xff"):
        json_rows(write(tmp_path / "a.json", b'{"a": "x\n\xff"}'), ["a"])
    with pytest.raises(DataError, match=r"a\.json: expected text in UTF-8 \(invalid start byte at byte 9\)"):
        read_object(tmp_path / "a.json")
    for read in (read_object, lambda path: json_rows(path, ["a"])):
        with pytest.raises(DataError, match=r"b\.json: no such file"):
            read(tmp_path / "b.json")
    with pytest.raises(DataError, match=r"c\.csv:1: missing \['a'\], got \[\]"):
        table_rows(write(tmp_path / "c.csv", ""), ["a"])


def test_unknown_columns_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table_rows(write(tmp_path / "a.csv", "a,b,c\n1,2,3\n"), ["a"], ["b"])
    assert "a.csv:1: ['c'] are not read. Known keys: a, b." in caplog.text


@pytest.mark.parametrize("value", [None, True, 1.5, "", "  ", ["a"]])
def test_names_are_texts_or_whole_numbers(value: object) -> None:
    with pytest.raises(DataError, match="f:1: expected a name or a number in 'id', got "):
        Row("f:1", {"id": value}).name("id")


@pytest.mark.parametrize("value", [None, True, "soon", "", [1], float("nan"), "inf"])
def test_numbers_are_finite(value: object) -> None:
    assert Row("f:1", {"start": "4.5"}).number("start") == 4.5
    with pytest.raises(DataError, match="f:1: expected a number in 'start', got "):
        Row("f:1", {"start": value}).number("start")


def test_ids_are_compared_as_text() -> None:
    with pytest.raises(DataError, match="f:2: the id '7' comes twice, first in f:1"):
        by_id([Row("f:1", {"id": 7}), Row("f:2", {"id": "7 "})], "id")


def test_the_first_medium_that_is_there(tmp_path: Path) -> None:
    def find(name: str) -> str:
        return find_medium(tmp_path, ["x", "y"], [name], ["mp4", "webm"])

    assert find("a") == "x/a.mp4"
    (tmp_path / "y").mkdir()
    (tmp_path / "y/a.webm").touch()
    assert find("a") == "y/a.webm"
    assert find("a.webm") == "y/a.webm"
    assert find("a.b") == "x/a.b.mp4", "a dot in a name is not a suffix"


def test_files_that_were_looked_for_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/a\.json: no such file, nor b/a\.json\."):
        find_file(tmp_path, "a.json", "b/a.json")
