"""TGIF-QA: questions about animated GIFs: repeated actions, state transitions, counts, and single frames.

From github.com/YunseokJANG/tgif-qa (dataset/). The tables are separated by tabs although they are named .csv:

    {split}_action_question.csv, {split}_transition_question.csv
                                      gif_name question a1 a2 a3 a4 a5 answer vid_id key
    {split}_count_question.csv        gif_name question answer vid_id key
    {split}_frameqa_question.csv      gif_name question answer type vid_id key description
    gifs/                             {gif_name}.gif

`answer` of the first two counts the options from 0, as published: their test tables hold 0 to 4. Copies that count from
1 are recognised by a 5. `vid_id` is the id of a question, not of a video.
"""

from collections.abc import Sequence
from pathlib import Path

from training.data.benchmarks.files import Row, find_medium, table_rows
from training.data.items import Item, unique
from training.data.jsonl import DataError

OPTIONS = ("a1", "a2", "a3", "a4", "a5")
COLUMNS = {"action": OPTIONS, "transition": OPTIONS, "count": (), "frameqa": ("type",)}
"""Of the tables of every task, beside NEEDED."""
NEEDED = ("gif_name", "question", "answer", "vid_id")
KNOWN = ("key", "description")
FRAME_TYPES = ("object", "number", "color", "location")


def read(root: Path, tasks: Sequence[str] = tuple(COLUMNS), *, split: str = "Test") -> list[Item]:
    """Questions of the given tasks; groups {"task"}, for frameqa also {"type"}. Raises DataError, KeyError for a task."""
    items = []
    for task in tasks:
        path = root / f"{split}_{task}_question.csv"
        rows = table_rows(path, (*NEEDED, *COLUMNS[task]), KNOWN, delimiter="\t")
        first = first_index(path, [row.name("answer") for row in rows]) if COLUMNS[task] == OPTIONS else 0
        items += unique([_item(root, task, row, first) for row in rows], path)
    return unique(items, root)


def first_index(path: Path, answers: Sequence[str]) -> int:
    """What a table calls its first option: 1 when it holds a 5, else 0. Raises DataError when it holds both 0 and 5."""
    if {"0", "5"} <= {*answers}:
        raise DataError(f"{path}: expected answers from 0 to 4 or from 1 to 5, got both 0 and 5.")
    return int("5" in answers)


def _item(root: Path, task: str, row: Row, first: int) -> Item:
    id, question, groups = row.name("vid_id"), row.text("question"), {"task": task}
    video = find_medium(root, ("gifs", "."), [row.name("gif_name")], ("gif", "mp4"))
    if COLUMNS[task] == OPTIONS:
        return Item(
            id=id, video=video, question=question, candidates=tuple(row.text(option) for option in OPTIONS),
            answer=row.index("answer", len(OPTIONS), first), groups=groups,
        )  # fmt: skip
    answer = row.name("answer")
    if task == "count":
        if not answer.isdigit():
            raise row.error("answer", "a count")
    else:
        groups["type"] = FRAME_TYPES[row.index("type", len(FRAME_TYPES))]
    return Item(id=id, video=video, question=question, answers=(answer,), groups=groups)
