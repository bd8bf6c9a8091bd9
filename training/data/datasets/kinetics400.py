"""Kinetics-400: ten seconds of an action each, cut out of web videos; many of them are gone.

    {train,val,test}.csv, or annotations/{split}.csv     label,youtube_id,time_start,time_end,split[,is_cc]
    {split}/, {split}/{label}/, videos/, videos/{label}/ {youtube_id}_{time_start:06d}_{time_end:06d}.mp4

or the list form of open code bases: kinetics400_{split}_list_videos.txt with "path label_index" a line, paths under
videos_{split}/, and label_map_k400.txt with the name of a class a line.

The classes are all labels of the tables that are there, in alphabetical order.
"""

from pathlib import Path

from training.data.benchmarks.files import Row, find_file, find_medium, table_rows
from training.data.datasets.clips import LabelledSet, LabelledVideo, check_split, labelled
from training.data.datasets.files import numbered_lines
from training.data.jsonl import DataError

SPLITS = {"train": ("train",), "val": ("val", "validate"), "test": ("test",)}
"""And what the tables call each."""
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SUFFIXES = ("mp4", "mkv", "webm", "avi")


def read(root: Path, split: str = "val") -> LabelledSet:
    """Videos of one of SPLITS. Raises DataError with file and line."""
    check_split(split, SPLITS)
    listed = root / f"kinetics400_{split}_list_videos.txt"
    if listed.is_file():
        return _read_list(root, split, listed)
    path = _table(root, split)
    rows = table_rows(path, COLUMNS, ("is_cc",))
    others = [_table(root, name) for name in SPLITS if name != split and _has_table(root, name)]
    # The test table of some releases has no labels: what it lacks is no class.
    labels = {row.text("label") for row in rows}
    labels |= {
        label for other in others for row in table_rows(other, (), (*COLUMNS, "is_cc")) if (label := _label(row))
    }
    return labelled(sorted(labels), [_video(root, split, row) for row in rows], path)


def _video(root: Path, split: str, row: Row) -> LabelledVideo:
    label, youtube_id = row.text("label"), row.name("youtube_id")
    if row.text("split") not in SPLITS[split]:
        raise row.error("split", f"one of {', '.join(SPLITS[split])}")
    name = f"{youtube_id}_{round(row.number('time_start')):06d}_{round(row.number('time_end')):06d}"
    folders = (split, f"{split}/{label}", f"{split}/{label.replace(' ', '_')}", "videos", f"videos/{label}")
    return LabelledVideo(
        video=find_medium(root, folders, [name], SUFFIXES), label=label, split=split, source=youtube_id
    )  # fmt: skip


def _table(root: Path, split: str) -> Path:
    return find_file(root, f"{split}.csv", f"annotations/{split}.csv")


def _has_table(root: Path, split: str) -> bool:
    return (root / f"{split}.csv").is_file() or (root / f"annotations/{split}.csv").is_file()


def _label(row: Row) -> str:
    return str(row.cells.get("label", "")).strip()


def _read_list(root: Path, split: str, path: Path) -> LabelledSet:
    names = [name for _, name in numbered_lines(root / "label_map_k400.txt")]
    videos = []
    for where, line in numbered_lines(path):
        name, _, index = line.rpartition(" ")
        if not name or not index.isdecimal() or int(index) >= len(names):
            raise DataError(f"{where}: expected 'path index' with an index from 0 to {len(names) - 1}, got '{line}'.")
        video = find_medium(root, (f"videos_{split}", "videos"), [name], suffixes=())
        videos.append(LabelledVideo(video=video, label=names[int(index)], split=split))
    return labelled(names, videos, path)
