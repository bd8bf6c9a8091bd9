"""UCF-101: actions in web videos, 101 classes, in three splits.

    ucfTrainTestlist/classInd.txt                         a line "1 ApplyEyeMakeup"
    ucfTrainTestlist/trainlist01.txt, 02, 03              a line "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
    ucfTrainTestlist/testlist01.txt, 02, 03               the same without the number
    videos/ or UCF-101/                                   {class}/{name}.avi

Clips with the same group (g08) come from one recording, and are not independent.
"""

from pathlib import Path, PurePosixPath

from training.data.benchmarks.files import find_medium
from training.data.datasets.clips import LabelledSet, LabelledVideo, check_split, labelled
from training.data.datasets.files import numbered_lines
from training.data.jsonl import DataError

SPLITS = ("train", "test")
FOLDS = (1, 2, 3)
LISTS = "ucfTrainTestlist"


def read(root: Path, split: str = "test", fold: int = 1) -> LabelledSet:
    """Videos of a split of one of the owners' three FOLDS. Raises DataError with file and line."""
    check_split(split, SPLITS)
    check_split(str(fold), map(str, FOLDS))
    numbers = _classes(root / LISTS / "classInd.txt")
    path = root / LISTS / f"{split}list{fold:02d}.txt"
    videos = [_video(root, split, numbers, where, line) for where, line in numbered_lines(path)]
    return labelled(list(numbers), videos, path)


def _video(root: Path, split: str, numbers: dict[str, str], where: str, line: str) -> LabelledVideo:
    name, _, number = line.partition(" ")
    label = PurePosixPath(name).parent.as_posix()
    if label not in numbers:
        raise DataError(f"{where}: expected the folder of a class in classInd.txt, got '{line}'.")
    if number.strip() not in ({numbers[label]} if split == "train" else {"", numbers[label]}):
        raise DataError(f"{where}: expected the number {numbers[label]} of {label} in classInd.txt, got '{line}'.")
    video = find_medium(root, ("videos", "UCF-101"), [name, f"{name.removesuffix('.avi')}.mp4"], suffixes=())
    return LabelledVideo(video=video, label=label, split=split, source=name.rsplit("_", 1)[0])


def _classes(path: Path) -> dict[str, str]:
    """Number by name, in the order of the numbers, which count from 1."""
    numbers: dict[str, str] = {}
    for where, line in numbered_lines(path):
        number, _, name = line.partition(" ")
        if number != str(len(numbers) + 1) or not name.strip() or name.strip() in numbers:
            raise DataError(f"{where}: expected '{len(numbers) + 1} ' and the name of a new class, got '{line}'.")
        numbers[name.strip()] = number
    return numbers
