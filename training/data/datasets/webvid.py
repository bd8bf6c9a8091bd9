"""WebVid: millions of stock videos with a caption each, to post-pretrain on. Its owners no longer hand out the videos.

    results_{2M,10M}_{train,val}.csv     videoid,contentUrl,duration,page_dir,name, in any order
    videos/{page_dir}/{videoid}.mp4

Columns are read by their names, for their order differs between releases; a table without a header has them in the
order above. The tables are large: they are read row by row, and nobody looks which videos are there.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.benchmarks.files import Row, check_keys
from training.data.datasets.clips import captioned, check_split
from training.data.jsonl import DataError
from training.data.retrieval import CaptionedVideo

SPLITS = {
    "train_2m": "results_2M_train.csv", "val_2m": "results_2M_val.csv",
    "train_10m": "results_10M_train.csv", "val_10m": "results_10M_val.csv",
}  # fmt: skip
"""And the table of each."""
ORDER = ("videoid", "contentUrl", "duration", "page_dir", "name")
NEEDED = ("videoid", "page_dir", "name")
KNOWN = ("contentUrl", "duration", "page_idx")


def read(root: Path, split: str) -> list[CaptionedVideo]:
    """Videos of one of SPLITS with their caption. Raises DataError with file and line."""
    check_split(split, SPLITS)
    path = root / SPLITS[split]
    pairs = ((f"videos/{row.text('page_dir')}/{row.name('videoid')}.mp4", row.text("name")) for row in _rows(path))
    return captioned(pairs, split=split, source=path)


def _rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header: Sequence[str] | None = None
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                if header is None:
                    header = cells if "videoid" in cells else ORDER
                    if header is cells:
                        check_keys(where, header, NEEDED, KNOWN)
                        continue
                if len(cells) != len(header):
                    raise DataError(f"{where}: expected {len(header)} columns, got {len(cells)}: {str(cells)[:80]}")
                yield Row(where, dict(zip(header, cells, strict=True)))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: expected a table ({error}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error.reason}).") from error
