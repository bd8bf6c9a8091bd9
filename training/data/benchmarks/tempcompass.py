"""TempCompass: does a model see action, direction, speed, order and change? Four kinds of questions about 410 videos.

From github.com/llyx97/TempCompass; the question files lie in questions/ or in the root:

    multi-choice.json         {video: {dim: [{"question": "...?\\nA. ...\\nB. ...", "answer": "B. ..."}]}}
    yes_no.json               the same with "yes" or "no"
    caption_matching.json     the same with two sentences, marked "Caption A: ...", "Sentence A: ..." or "Option 1: ..."
    captioning.json           the same; the answer is that of a multiple-choice question
    any of them               or, as a list: {"video_id", "dim", "question", "answer"} and what else a copy may add
    videos/                   {video}.mp4

Their owners have a caption judged by whether a language model that knows only the caption answers the first
multiple-choice question of its video and dim, which is the item "multi-choice/{video}/{dim}/0". No caption equals that
answer, and no rule stands in for the judge, so captions are read where they are asked for and are no part of the score.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.benchmarks.files import (
    VIDEO_SUFFIXES,
    Row,
    find_file,
    find_medium,
    json_rows,
    read_object,
    read_text,
)
from training.data.items import Item, unique
from training.data.jsonl import DataError

log = logging.getLogger(__name__)

SCORED = ("multi-choice", "yes_no", "caption_matching")
"""The tasks that are right or wrong without a judge. The fourth is "captioning"."""
YES_NO = ("yes", "no")
OPTION = re.compile(r"(?P<mark>[A-Z])\.\s*(?P<words>\S.*)")
CAPTION = re.compile(r"(?P<mark>(?:Caption|Sentence|Option) \w+):\s*(?P<words>\S.*)")


def read(root: Path, tasks: Sequence[str] = SCORED) -> list[Item]:
    """Questions of the given tasks; ids are task/video/dim/number, groups {"task", "dim"}. Raises DataError."""
    items = []
    for task in tasks:
        path = find_file(root, f"questions/{task}.json", f"{task}.json")
        items += unique([_item(root, task, *place, row) for place, row in _rows(path)], path)
    return items


def _rows(path: Path) -> Iterator[tuple[tuple[str, str, int], Row]]:
    """(video, dim, number) and row of every question."""
    if read_text(path).lstrip().startswith("["):
        yield from _flat_rows(path)
        return
    for video, dims in read_object(path).items():
        for dim, questions in dims.items() if isinstance(dims, dict) else [("", dims)]:
            if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
                raise DataError(f"{path}:{video}: expected lists of questions by dim, got {str(questions)[:80]}")
            for number, cells in enumerate(questions):
                yield (video, dim, number), Row(f"{path}:{video}/{dim}/{number}", cells)


def _flat_rows(path: Path) -> Iterator[tuple[tuple[str, str, int], Row]]:
    """The same of a list of rows."""
    numbers: Counter[tuple[str, str]] = Counter()
    for row in json_rows(path, ("video_id", "dim", "question", "answer"), ("mc_question", "mc_answer")):
        place = row.name("video_id"), row.text("dim")
        yield (*place, numbers[place]), row
        numbers[place] += 1


def _item(root: Path, task: str, video: str, dim: str, number: int, row: Row) -> Item:
    question, candidates, answer, answers = row.text("question"), (), None, ()
    if task == "yes_no":
        candidates = YES_NO
        if row.text("answer").lower() not in YES_NO:
            raise row.error("answer", "yes or no")
        answer = YES_NO.index(row.text("answer").lower())
    elif task == "captioning":
        published = row.text("answer")
        match = OPTION.fullmatch(published)
        answers = (published, match["words"]) if match else (published,)
    else:
        question, candidates, answer = _choice(row, OPTION if task == "multi-choice" else CAPTION)
    return Item(
        id=f"{task}/{video}/{dim}/{number}",
        video=find_medium(root, ("videos",), [video], VIDEO_SUFFIXES),
        question=question, candidates=candidates, answer=answer, answers=answers, groups={"task": task, "dim": dim},
    )  # fmt: skip


def _choice(row: Row, pattern: re.Pattern[str]) -> tuple[str, tuple[str, ...], int]:
    """Question, options and index of the right one, whose mark decides, as it does in the scoring of their owners."""
    first, *lines = row.text("question").split("\n")
    options = [pattern.fullmatch(line.strip()) for line in lines]
    if len(options) < 2 or None in options:
        raise row.error("question", "a line with the question, then two or more lines with a marked option")
    marks = [option["mark"] for option in options]
    right = pattern.fullmatch(row.text("answer"))
    if right is None or marks.count(right["mark"]) != 1:
        raise row.error("answer", f"an option marked with one of {marks}")
    answer = marks.index(right["mark"])
    if options[answer]["words"] != right["words"]:
        log.warning("%s: option '%s' is worded differently in the answer; its mark decides.", row.where, marks[answer])
    return first.strip(), tuple(option["words"] for option in options), answer
