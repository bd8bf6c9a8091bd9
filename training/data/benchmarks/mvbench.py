"""MVBench: 20 tasks of 200 multiple-choice questions that need more than one frame.

From huggingface.co/datasets/OpenGVLab/MVBench, with video/*.zip unpacked where they lie:

    json/{task}.json                          [{"video", "question", "candidates", "answer": text, "start", "end"}]
    video/{folder of the task}/{video}        a video, or for episodic_reasoning a folder of pictures, 3 a second
    video/data0613/{folder of the task}/...   videos of the about 30 questions that were replaced on 2024-06-13

The videos of fine_grained_pose come from NTU RGB+D, which gives them to those who ask. Two graders in wide use disagree
about empty answers; scores are comparable only where the grader is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.benchmarks.files import Row, find_medium, json_rows
from training.data.items import Item, unique


@dataclass(frozen=True)
class Task:
    """Where the videos of a task lie, what they are, and whether its questions are about a part of them."""

    folder: str
    kind: Literal["video", "frames", "gif"] = "video"
    bounded: bool = False


TASKS = {
    "action_sequence": Task("star/Charades_v1_480", bounded=True),
    "action_prediction": Task("star/Charades_v1_480", bounded=True),
    "action_antonym": Task("ssv2_video"),
    "fine_grained_action": Task("Moments_in_Time_Raw/videos"),
    "unexpected_action": Task("FunQA_test/test"),
    "object_existence": Task("clevrer/video_validation"),
    "object_interaction": Task("star/Charades_v1_480", bounded=True),
    "object_shuffle": Task("perception/videos"),
    "moving_direction": Task("clevrer/video_validation"),
    "action_localization": Task("sta/sta_video", bounded=True),
    "scene_transition": Task("scene_qa/video"),
    "action_count": Task("perception/videos"),
    "moving_count": Task("clevrer/video_validation"),
    "moving_attribute": Task("clevrer/video_validation"),
    "state_change": Task("perception/videos"),
    "fine_grained_pose": Task("nturgbd"),
    "character_order": Task("perception/videos"),
    "egocentric_navigation": Task("vlnqa"),
    "episodic_reasoning": Task("tvqa/frames_fps3_hq", "frames", bounded=True),
    "counterfactual_inference": Task("clevrer/video_validation"),
}
"""By the name of their file in json/, in the order of their owners' table."""

NEEDED = ("video", "question", "candidates", "answer")
KNOWN = ("start", "end", "accurate_start", "accurate_end", "fps", "video_length", "question_id", "subtitle")


def read(root: Path, tasks: Sequence[str] = tuple(TASKS)) -> list[Item]:
    """Questions of the given tasks; ids are task/number, as rows have none. Raises DataError, KeyError for a task."""
    items = []
    for task in tasks:
        path = root / "json" / f"{task}.json"
        of_task = [_item(root, task, number, row) for number, row in enumerate(json_rows(path, NEEDED, KNOWN))]
        items += unique(of_task, path)
    return items


def _item(root: Path, name: str, number: int, row: Row) -> Item:
    task = TASKS[name]
    candidates, answer = row.texts("candidates"), row.text("answer")
    if answer not in candidates:
        raise row.error("answer", f"the text of one of {list(candidates)}")
    folders = (f"video/{task.folder}", f"video/data0613/{task.folder}")
    return Item(
        id=f"{name}/{number}",
        video=find_medium(root, folders, [row.text("video")], suffixes=()),
        question=row.text("question"),
        candidates=candidates,
        answer=candidates.index(answer),  # the first of equals, which is also what the likelihood chooses
        start=row.number("start") if task.bounded else None,
        end=row.number("end") if task.bounded else None,
        groups={"task": name},
    )
