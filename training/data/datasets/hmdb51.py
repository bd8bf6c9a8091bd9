"""HMDB-51: actions in films and web videos, 51 classes, in three splits.

    testTrainMulti_7030_splits/ or splits/    {class}_test_split{1,2,3}.txt, a line "name.avi 0|1|2": 1 train, 2 test,
                                              0 in neither
    videos/{class}/ or {class}/               name.avi

Clips of one recording are named alike up to the class, and are not independent.
"""

import re
from pathlib import Path

from training.data.benchmarks.files import find_medium
from training.data.datasets.clips import LabelledSet, LabelledVideo, check_split, labelled
from training.data.datasets.files import numbered_lines
from training.data.jsonl import DataError

SPLITS = {"train": "1", "test": "2"}
"""And the mark of each in the lists."""
FOLDS = (1, 2, 3)
FOLDERS = ("testTrainMulti_7030_splits", "splits")


def read(root: Path, split: str = "test", fold: int = 1) -> LabelledSet:
    """Videos of a split of one of the owners' three FOLDS. Raises DataError with file and line."""
    check_split(split, SPLITS)
    check_split(str(fold), map(str, FOLDS))
    found = [path for folder in FOLDERS for path in sorted((root / folder).glob(f"*_test_split{fold}.txt"))]
    if not found:
        raise DataError(
            f"{root / FOLDERS[0]}: expected files *_test_split{fold}.txt there or in {FOLDERS[1]}, found none."
        )
    classes = [path.name.removesuffix(f"_test_split{fold}.txt") for path in found]
    videos = [video for path, label in zip(found, classes, strict=True) for video in _videos(root, path, label, split)]
    return labelled(classes, videos, found[0].parent)


def _videos(root: Path, path: Path, label: str, split: str) -> list[LabelledVideo]:
    videos = []
    for where, line in numbered_lines(path):
        name, _, mark = line.rpartition(" ")
        if mark not in ("0", "1", "2") or not name.strip():
            raise DataError(f"{where}: expected 'name.avi 0|1|2', got '{line}'.")
        if mark != SPLITS[split]:
            continue
        name = name.strip()
        video = find_medium(root, (f"videos/{label}", label), [name, f"{Path(name).stem}.mp4"], suffixes=())
        recording = re.split(rf"_{re.escape(label)}_", name, maxsplit=1)[0]
        videos.append(LabelledVideo(video=video, label=label, split=split, source=f"{label}/{recording}"))
    return videos
