"""LSMDC: short clips of 200 films with what an audio description says about them. From its owners, to those who ask.

    LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv     without a header, tabs:
                            clip, start and end aligned, start and end extracted (as text), sentence
    videos/{film}/{clip}.avi, or videos/{clip}.avi, or .mp4

A quotation mark is a quotation mark and quotes nothing. In training a clip may have several sentences.
"""

from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, find_medium
from training.data.datasets.clips import captioned, check_split
from training.data.datasets.files import numbered_lines
from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

SPLITS = {
    "train": "LSMDC16_annos_training.csv", "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}  # fmt: skip
"""And the table of each; the test of 1,000 clips is the one that is published on."""
COLUMNS = 6


def read(root: Path, split: str = "test") -> list[CaptionedVideo]:
    """Clips of one of SPLITS with their sentences. Raises DataError with file and line."""
    check_split(split, SPLITS)
    path = root / SPLITS[split]
    rows = []
    for where, line in numbered_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != COLUMNS or not cells[0] or not cells[-1]:
            raise DataError(f"{where}: expected {COLUMNS} columns, the first and last not empty, got {cells}.")
        rows.append((_video(root, cells[0]), cells[-1]))
    return captioned(rows, split=split, source=path)


def _video(root: Path, clip: str) -> str:
    film = clip.rsplit("_", 1)[0]  # 1004_Juno_00.00.32.631-00.00.37.522 is a clip of 1004_Juno
    names = [f"{film}/{clip}", clip]
    # The name has dots, so it is never taken for one that is complete.
    return find_medium(root, ("videos",), names, ("avi", *(s for s in VIDEO_SUFFIXES if s != "avi")))
