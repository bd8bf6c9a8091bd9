"""MSR-VTT: 10,000 clips of web videos with 20 captions each, to retrieve from.

    MSRVTT_data.json, or train_val_videodatainfo.json with test_videodatainfo.json
                                {"videos": [{"video_id", "split", ...}], "sentences": [{"video_id", "caption", ...}]}
    MSRVTT_train.9k.csv, MSRVTT_train.7k.csv           video_id; may be absent
    MSRVTT_JSFUSION_test.csv    key,vid_key,video_id,sentence: the test 1k-A, one caption a video
    videos/all/, videos/, TrainValVideo/ or TestVideo/ {video_id}.mp4

In place of them train_9k.json, train_7k.json and test_JSFUSION.json, as STAN's code reads them: {video: captions}.
Without its list, 9k is every video that 1k-A does not test, and 7k the owners' train and validate splits.
"""

from pathlib import Path

from training.data.benchmarks.files import Row, find_file, find_medium, table_rows
from training.data.datasets.clips import captioned, check_split
from training.data.datasets.files import captions_by_name, list_rows
from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

SPLITS = {"train_9k": "MSRVTT_train.9k.csv", "train_7k": "MSRVTT_train.7k.csv", "test_1ka": "MSRVTT_JSFUSION_test.csv"}
"""And the list of each."""
BY_NAME = {"train_9k": "train_9k.json", "train_7k": "train_7k.json", "test_1ka": "test_JSFUSION.json"}
FOLDERS = ("videos/all", "videos", "TrainValVideo", "TestVideo")
OFFICIAL_7K = ("train", "validate")


def read(root: Path, split: str = "test_1ka") -> list[CaptionedVideo]:
    """Videos of one of SPLITS with their captions. Raises DataError with file and line."""
    check_split(split, SPLITS)
    if (root / BY_NAME[split]).is_file():
        path = root / BY_NAME[split]
        return captioned(
            [(_video(root, name), said) for name, said in captions_by_name(path)], split=split, source=path
        )
    if split == "test_1ka":
        path = root / SPLITS[split]
        rows = [(_video(root, row.text("video_id")), row.text("sentence")) for row in _test(root)]
        return captioned(rows, split=split, source=path)
    path, videos, sentences = _annotations(root)
    captions: dict[str, list[str]] = {}
    for row in sentences:
        captions.setdefault(row.text("video_id"), []).append(row.text("caption"))
    rows = []
    for where, name in _names(root, split, videos):
        if name not in captions:
            raise DataError(f"{where}: expected a video with captions in {path.name}, got '{name}'.")
        rows += [(_video(root, name), said) for said in captions[name]]
    return captioned(rows, split=split, source=path)


def _names(root: Path, split: str, videos: list[Row]) -> list[tuple[str, str]]:
    """Where a training video is listed, and its name."""
    if (root / SPLITS[split]).is_file():
        return [(row.where, row.text("video_id")) for row in table_rows(root / SPLITS[split], ("video_id",))]
    if split == "train_7k":
        return [(row.where, row.text("video_id")) for row in videos if row.text("split") in OFFICIAL_7K]
    if not (root / "MSRVTT_data.json").is_file() and not (root / "test_videodatainfo.json").is_file():
        raise DataError(
            f"{root / SPLITS[split]}: no such file, nor test_videodatainfo.json: 9k cannot be told without."
        )
    tested = {row.text("video_id") for row in _test(root)}
    return [(row.where, row.text("video_id")) for row in videos if row.text("video_id") not in tested]


def _test(root: Path) -> list[Row]:
    return table_rows(root / SPLITS["test_1ka"], ("video_id", "sentence"), ("key", "vid_key"))


def _annotations(root: Path) -> tuple[Path, list[Row], list[Row]]:
    """The first file of annotations, and the videos and sentences of it and of the test file beside it."""
    path = find_file(root, "MSRVTT_data.json", "train_val_videodatainfo.json")
    paths = [path]
    if path.name != "MSRVTT_data.json" and (root / "test_videodatainfo.json").is_file():
        paths.append(root / "test_videodatainfo.json")
    videos = [
        row
        for file in paths
        for row in list_rows(file, "videos", ("video_id", "split"), ("category", "url", "start time", "end time", "id"))
    ]
    sentences = [row for file in paths for row in list_rows(file, "sentences", ("video_id", "caption"), ("sen_id",))]
    return path, videos, sentences


def _video(root: Path, name: str) -> str:
    return find_medium(root, FOLDERS, [name], ("mp4", "avi", "webm", "mkv"))
