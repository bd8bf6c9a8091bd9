"""Controls: the same questions beside another video, or none, so that a score tells what the video gave it."""

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.jsonl import DataError

CONTROLS = ("full", "no_video", "wrong_video")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One multiple-choice question. `video` is the path as the data file writes it, `answer` an index of `candidates`."""

    id: str
    video: str
    question: str
    candidates: tuple[str, ...]
    answer: int


def shown_videos(control: str, questions: Sequence[Question], *, seed: int) -> dict[str, str | None]:
    """The video that each question (by id) is asked beside under a control, None for no video at all.

    Raises DataError where the videos are too few for `wrong_video`, KeyError for an unknown control.
    """
    if control == "full":
        return {question.id: question.video for question in questions}
    if control == "no_video":
        return {question.id: None for question in questions}
    if control == "wrong_video":
        wrong = derange(questions, seed=seed)
        return {question.id: wrong[question.video] for question in questions}
    raise KeyError(f"unknown control '{control}'. Known controls: {', '.join(CONTROLS)}.")


def derange(questions: Sequence[Question], *, seed: int) -> dict[str, str]:
    """Give every distinct video another one, never one of its own group (see `groups_of_orders`).

    Groups stand in a row, the largest first; a shift by the size of the largest leaves every group, wherever it stands,
    as long as no group holds more than half of the videos. Depends only on the questions and the seed.
    """
    for groups in (groups_of_orders(questions, by_name=True), groups_of_orders(questions, by_name=False)):
        total, largest = sum(map(len, groups)), max(map(len, groups))
        if 2 * largest <= total:
            break
    else:
        raise DataError(
            f"wrong_video needs for every video another one to show, got {total} distinct "
            f"of which {largest} count as the same. Add videos, or leave wrong_video out of --controls."
        )
    generator = random.Random(seed)
    for group in groups:
        generator.shuffle(group)
    generator.shuffle(groups)
    groups.sort(key=len, reverse=True)
    row = [video for group in groups for video in group]
    return {video: row[(place + largest) % total] for place, video in enumerate(row)}


def groups_of_orders(questions: Sequence[Question], *, by_name: bool) -> list[list[str]]:
    """The distinct videos, those that are the same clips joined in another order together; sorted.

    Two videos belong together when they alone are asked with the same set of candidates (which of the two happens
    first?) and, `by_name`, when their names are made of the same parts in another order: 00ab and 00ba, x_then_y and
    y_then_x. A name is a weaker sign than a question, and may be given up where it leaves no video to show.
    """
    videos = sorted({question.video for question in questions})
    groups = {video: {video} for video in videos}
    choices: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for question in questions:
        choices[tuple(sorted(question.candidates))].add(question.video)
    join(groups, (same for same in choices.values() if len(same) == 2))
    if by_name:
        names: dict[Hashable, set[str]] = defaultdict(set)
        for video in videos:
            names[name_parts(video)].add(video)
        join(groups, names.values())
    return sorted({min(group): sorted(group) for group in groups.values()}.values())


def join(groups: dict[str, set[str]], sets: Iterable[set[str]]) -> None:
    """Merge the groups that any of the sets connects."""
    for connected in sets:
        merged = set().union(*(groups[video] for video in connected))
        for video in merged:
            groups[video] = merged


def name_parts(video: str) -> Hashable:
    """Folder, and what the name is made of whatever the order: its numbers and its letters."""
    path = Path(video)
    return path.parent, tuple(sorted(re.findall(r"\d+|[^\W\d_]", path.stem)))
