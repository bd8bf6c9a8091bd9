"""Controls: the same questions beside another video, part of it, or none, so that a score tells what the video gave it."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.data.items import Item
from training.data.jsonl import DataError

if TYPE_CHECKING:  # the command line imports this module, and its --help must not wait for torch
    from torch import Tensor

CONTROLS = {
    "full": "the video as it is",
    "no_video": "no video: what the words alone give away",
    "wrong_video": "another video: whether the score comes from this one",
    "single_frame": "the middle frame alone: what more than one frame adds",
    "shuffled": "the frames in another order: what their order adds",
    "reversed": "the frames backwards: whether the direction of time is seen",
    "branch_off": "without the temporal branch, a diagnostic: taking away what was trained in always hurts",
    "options_shuffled": "the options in another order: whether their place matters",
    "question_withheld": "the options without the question: what the answers give away",
}
SEEN_CONTROLS = ("full", "single_frame", "shuffled", "reversed", "branch_off")
"""Those that change what is seen of a video, and so can be asked of an encoder alone."""
DEFAULT_CONTROLS = ("full", "no_video", "wrong_video")
WITHHELD = "Which is right?"


@dataclass(frozen=True, kw_only=True)
class Showing:
    """What is shown beside a question. `video` None is nothing; `frames` an ARRANGEMENTS name; seconds as in Item."""

    video: str | None
    start: float | None = None
    end: float | None = None
    frames: str = "all"
    branch: bool = True


def showings(control: str, items: Sequence[Item], *, seed: int) -> dict[str, Showing]:
    """What each item (by id) is asked beside under a control.

    Raises DataError where the videos are too few for `wrong_video`, KeyError for an unknown control.
    """
    if control not in CONTROLS:
        raise KeyError(f"unknown control '{control}'. Known controls: {', '.join(CONTROLS)}.")
    if control == "no_video":
        return {item.id: Showing(video=None) for item in items}
    own = {item.id: Showing(video=item.video, start=item.start, end=item.end) for item in items}
    if control == "wrong_video":
        wrong = derange(items, seed=seed)
        spans = {item.video: own[item.id] for item in reversed(items)}  # of the first question about a video
        return {item.id: spans[wrong[item.video]] for item in items}
    if control in ("single_frame", "shuffled", "reversed"):
        return {id: replace(showing, frames=control) for id, showing in own.items()}
    if control == "branch_off":
        return {id: replace(showing, branch=False) for id, showing in own.items()}
    return own


def arranged(frames: Tensor, arrangement: str, *, seed: str) -> Tensor:
    """Frames (T, ...) of one video in the arrangement of a Showing; "shuffled" never leaves all as they were.

    Give every video a seed of its own: one order for all might be a lucky one.
    """
    count = len(frames)
    if arrangement == "single_frame":
        return frames[count // 2 : count // 2 + 1]
    if arrangement == "reversed":
        return frames.flip(0)
    if arrangement == "shuffled" and count > 1:
        order = list(range(count))
        rng = random.Random(seed)
        while order == sorted(order):
            rng.shuffle(order)
        return frames[order]
    return frames


def put(control: str, item: Item, *, seed: int) -> tuple[Item, list[int]]:
    """The item as it is put under a control, and for each option put its index in the item."""
    order = list(range(len(item.candidates)))
    if control == "question_withheld":
        return replace(item, question=WITHHELD), order
    if control == "options_shuffled" and len(order) > 1:
        turn = random.Random(f"{seed}|{item.id}").randrange(1, len(order))
        order = order[turn:] + order[:turn]
        candidates = tuple(item.candidates[i] for i in order)
        return replace(item, candidates=candidates, answer=order.index(item.answer)), order
    return item, order


def derange(items: Sequence[Item], *, seed: int) -> dict[str, str]:
    """Give every distinct video another one, never one of its own group (see `groups_of_orders`).

    Groups stand in a row, the largest first; a shift by the size of the largest leaves every group, wherever it stands,
    as long as no group holds more than half of the videos. Depends only on the items and the seed.
    """
    for groups in (groups_of_orders(items, by_name=True), groups_of_orders(items, by_name=False)):
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


def groups_of_orders(items: Sequence[Item], *, by_name: bool) -> list[list[str]]:
    """The distinct videos, those that are the same clips joined in another order together; sorted.

    Two videos belong together when they alone are asked with the same set of candidates (which of the two happens
    first?) and, `by_name`, when their names are made of the same parts in another order: 00ab and 00ba, x_then_y and
    y_then_x. A name is a weaker sign than a question, and may be given up where it leaves no video to show.
    """
    videos = sorted({item.video for item in items})
    groups = {video: {video} for video in videos}
    choices: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in items:
        if item.candidates:
            choices[tuple(sorted(item.candidates))].add(item.video)
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
