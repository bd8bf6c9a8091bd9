"""Something-Something V2: what is done to things, with the things left out of the classes.

    labels/{train,validation}.json and labels/labels.json, or something-something-v2-{train,validation,labels}.json
                               [{"id", "label": sentence, "template": "Putting [something] ...", "placeholders"}]
                               {template without brackets: "index"}
    20bn-something-something-v2/ or videos/     {id}.webm

The test split has no labels.
"""

from pathlib import Path

from training.data.benchmarks.files import Row, find_file, find_medium, json_rows, read_object
from training.data.datasets.clips import LabelledSet, LabelledVideo, check_split, labelled
from training.data.jsonl import DataError

SPLITS = ("train", "validation")
FOLDERS = ("20bn-something-something-v2", "videos")


def read(root: Path, split: str = "validation") -> LabelledSet:
    """Videos of one of SPLITS, each with its sentence as a caption. Raises DataError with file and line."""
    check_split(split, SPLITS)
    classes = _classes(_file(root, "labels"))
    path = _file(root, split)
    rows = json_rows(path, ("id", "label", "template"), ("placeholders",))
    return labelled(classes, [_video(root, split, row, set(classes)) for row in rows], path)


def _video(root: Path, split: str, row: Row, classes: set[str]) -> LabelledVideo:
    label = row.text("template").replace("[", "").replace("]", "")
    if label not in classes:
        raise row.error("template", "brackets around some words of a class in the file of labels")
    video = find_medium(root, FOLDERS, [row.name("id")], ("webm", "mp4"))
    return LabelledVideo(video=video, label=label, split=split, captions=(row.text("label"),))


def _classes(path: Path) -> list[str]:
    """Names in the order of their indices."""
    by_name = read_object(path)
    indices = {str(i) for i in range(len(by_name))}
    if strange := {str(value) for value in by_name.values()} ^ indices:
        raise DataError(f"{path}:1: expected every index from 0 to {len(by_name) - 1} once, got {sorted(strange)[:5]}.")
    return sorted(by_name, key=lambda name: int(str(by_name[name])))


def _file(root: Path, part: str) -> Path:
    return find_file(root, f"labels/{part}.json", f"something-something-v2-{part}.json")
