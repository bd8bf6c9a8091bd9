r"""Video-MME: 2,700 multiple-choice questions about 900 videos from 11 seconds to an hour.

From huggingface.co/datasets/lmms-lab/Video-MME; the first of these that is there, and beside it the unpacked archives:

    test-00000-of-00001.parquet, videomme/test-00000-of-00001.parquet, test.jsonl, test.json
        {"video_id", "duration", "domain", "sub_category", "url", "videoID", "question_id", "task_type", "question",
         "options": ["A. ...", ...], "answer": letter}
    data/ or videos/            {videoID}.mp4
    subtitles/ or subtitle/     {videoID}.srt, for 744 of the videos

`video_id` is a running number, `videoID` the name of the file. Their owners give a model only the subtitles that are on
screen in the frames it sees. So `read` gives them with their times: those of an hour would fill a model's context.
"""

import string
from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, Row, check_keys, find_file, find_medium, json_rows
from training.data.benchmarks.subtitles import Subtitle, read_subtitles
from training.data.items import Item, unique
from training.data.jsonl import DataError

PARQUET = "test-00000-of-00001.parquet"
FILES = (PARQUET, f"videomme/{PARQUET}", "test.jsonl", "test.json")
GROUPS = ("duration", "domain", "sub_category", "task_type")
NEEDED = (*GROUPS, "videoID", "question_id", "question", "options", "answer")
KNOWN = ("video_id", "url")


def read(root: Path, *, subtitles: bool = False) -> list[Item]:
    """All questions. `subtitles` puts what is said and when into `timed_context`, empty where there is no .srt file.

    Raises DataError.
    """
    path = find_file(root, *FILES)
    rows = _parquet_rows(path) if path.suffix == ".parquet" else json_rows(path, NEEDED, KNOWN)
    spoken: dict[str, tuple[Subtitle, ...]] = {}
    items = []
    for row in rows:
        name = row.name("videoID")
        if subtitles and name not in spoken:
            spoken[name] = _spoken(root, name)
        items.append(_item(root, row, spoken.get(name, ())))
    return unique(items, path)


def _item(root: Path, row: Row, spoken: tuple[Subtitle, ...]) -> Item:
    candidates = tuple(_without_letter(row, i, option) for i, option in enumerate(row.texts("options")))
    letters = string.ascii_uppercase[: len(candidates)]
    answer = row.text("answer").rstrip(".").upper()
    if answer not in list(letters):
        raise row.error("answer", f"a letter of {letters}")
    return Item(
        id=row.name("question_id"),
        video=find_medium(root, ("data", "videos"), [row.name("videoID")], (*VIDEO_SUFFIXES, "MP4")),
        question=row.text("question"),
        candidates=candidates,
        answer=letters.index(answer),
        groups={group: row.name(group) for group in GROUPS},
        timed_context=spoken,
    )


def _without_letter(row: Row, index: int, option: str) -> str:
    """ "B. Candles." -> "Candles.": the stop at the end is a part of the option."""
    mark = f"{string.ascii_uppercase[index]}."
    words = option.removeprefix(mark).strip()
    if not option.startswith(mark) or not words:
        raise row.error("options", f"an option that begins with '{mark} '")
    return words


def _spoken(root: Path, name: str) -> tuple[Subtitle, ...]:
    path = root / find_medium(root, ("subtitles", "subtitle"), [f"{name}.srt"], suffixes=())
    return tuple(read_subtitles(path)) if path.is_file() else ()


def _parquet_rows(path: Path) -> list[Row]:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a parquet file ({error}).") from error
    check_keys(f"{path}", table.column_names, NEEDED, KNOWN)
    return [Row(f"{path}:{number}", cells) for number, cells in enumerate(table.to_pylist(), start=1)]
