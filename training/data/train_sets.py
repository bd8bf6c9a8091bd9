"""The data sets that encoders are trained on: who reads each split. No split here is one that results are published on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.datasets import didemo, hmdb51, kinetics400, lsmdc, msrvtt, ours, ssv2, ucf101, webvid
from training.data.datasets.clips import LabelledSet
from training.data.examples import Clip
from training.data.jsonl import DataError, read_samples
from training.data.retrieval import CaptionedVideo


@dataclass(frozen=True, kw_only=True)
class TrainSet:
    """Clips, whose paths are relative to `root`, and the names of all classes where there are any."""

    root: Path
    clips: Sequence[Clip]
    classes: tuple[str, ...] = ()


Reader = Callable[[Path], TrainSet]


def our_captions(path: Path) -> TrainSet:
    """Rows of our JSONL that are of the train split and have captions; rows of one clip join."""
    root, said = path.parent, dict[tuple[str, float | None, float | None], list[str]]()
    for sample in read_samples(_file(path)):
        if sample.split == "train" and sample.captions:
            media = sample.media.relative_to(root) if sample.media.is_relative_to(root) else sample.media
            said.setdefault((media.as_posix(), sample.start, sample.end), []).extend(sample.captions)
    clips = [Clip(name, tuple(texts), recording=name, start=a, end=b) for (name, a, b), texts in said.items()]
    return TrainSet(root=root, clips=clips)


def our_labels(path: Path) -> TrainSet:
    """Rows of our JSONL with labels, all of the train split. Raises DataError for a file of another one."""
    found = ours.read(_file(path))
    if found.videos[0].split != "train":
        raise DataError(f"{path}: expected rows of the train split, got '{found.videos[0].split}'.")
    return _with_classes(path.parent, found)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f'{path}: no such file. For dataset = "jsonl" the data are a file of our JSONL.')
    return path


def _captioned(read: Callable[..., Sequence[CaptionedVideo]], split: str) -> Reader:
    def clips(root: Path) -> TrainSet:
        videos = read(root, split)
        return TrainSet(root=root, clips=[Clip(v.video, v.captions, recording=v.video, end=v.end) for v in videos])

    return clips


def _labelled(read: Callable[..., LabelledSet], **fold: int) -> Reader:
    return lambda root: _with_classes(root, read(root, "train", **fold))


def _with_classes(root: Path, found: LabelledSet) -> TrainSet:
    clips = [Clip(v.video, (v.label,), recording=v.source or v.video, start=v.start, end=v.end) for v in found.videos]
    return TrainSet(root=root, clips=clips, classes=found.classes)


def _three_folds(read: Callable[..., LabelledSet]) -> dict[str, Reader]:
    names = {1: "train", 2: "train_split2", 3: "train_split3"}
    return {name: _labelled(read, fold=fold) for fold, name in names.items()}


CAPTIONED: dict[str, dict[str, Reader]] = {
    "webvid": {split: _captioned(webvid.read, split) for split in ("train_2m", "train_10m")},
    "msrvtt": {split: _captioned(msrvtt.read, split) for split in ("train_9k", "train_7k")},
    "didemo": {"train": _captioned(didemo.read, "train")},
    "lsmdc": {"train": _captioned(lsmdc.read, "train")},
    "jsonl": {"train": our_captions},
}
"""Data set -> split -> its reader, which takes a folder; for "jsonl" it takes a file."""
LABELLED: dict[str, dict[str, Reader]] = {
    "kinetics400": {"train": _labelled(kinetics400.read)},
    "ssv2": {"train": _labelled(ssv2.read)},
    "hmdb51": _three_folds(hmdb51.read),
    "ucf101": _three_folds(ucf101.read),
    "jsonl": {"train": our_labels},
}
"""The same of sets with classes."""


def check_split(dataset: str, split: str, known: Mapping[str, Mapping[str, Reader]]) -> None:
    """Raises ValueError that lists what is known."""
    if dataset not in known:
        raise ValueError(f"unknown dataset '{dataset}'. Known datasets: {', '.join(known)}.")
    if split not in known[dataset]:
        known_splits = ", ".join(known[dataset])
        raise ValueError(f"unknown split '{split}' of {dataset} to train on. Known splits: {known_splits}.")
