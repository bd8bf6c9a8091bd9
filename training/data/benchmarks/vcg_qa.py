"""ActivityNet-QA, MSVD-QA, MSRVTT-QA and the frame questions of TGIF-QA: open questions with answers of a word or two.

In the layout in which Video-ChatGPT made them a zero-shot test (for ActivityNet-QA also that of its owners,
github.com/MILVLG/activitynet-qa), two files that are joined by question_id and never by position:

    test_q.json     [{"video_name", "question", "question_id"}]
    test_a.json     [{"answer", "type", "question_id"}]

or in that of the owners of MSVD-QA and MSRVTT-QA (github.com/xudejing/video-question-answering):

    test_qa.json            [{"answer", "id", "question", "video_id": number, "category_id"}]
    youtube_mapping.txt     "clip-name vid7" a line: names of MSVD's files; without it they are vid7.avi

`video` may stand for video_name and `id` for question_id. Videos are looked for in the folders of LAYOUTS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, Row, by_id, find_file, find_medium, json_rows, read_text
from training.data.items import Item, unique
from training.data.jsonl import DataError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where videos lie, what is written before a video's name or number, and what the types are called."""

    folders: tuple[str, ...]
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES
    before_name: str = ""
    before_number: str = ""
    types: Mapping[str, str] = field(default_factory=dict)


LAYOUTS = {
    "activitynet_qa": Layout(
        folders=("all_test", "videos"),
        before_name="v_",
        types={
            "0": "motion", "1": "spatial", "2": "temporal", "3": "yes/no", "4": "color", "5": "object",
            "6": "location", "7": "number", "8": "other",
        },
    ),
    "msvd_qa": Layout(folders=("videos", "video", "YouTubeClips"), before_number="vid"),
    "msrvtt_qa": Layout(folders=("videos/all", "videos", "video"), before_number="video"),
    "tgif_qa": Layout(
        folders=("mp4", "gifs", "videos"),
        suffixes=("mp4", "gif", "webm"),
        types={"0": "object", "1": "number", "2": "color", "3": "location"},
    ),
}  # fmt: skip

NAMES, IDS = ("video_name", "video"), ("question_id", "id")


def read(root: Path, dataset: str) -> list[Item]:
    """Questions of one of LAYOUTS; groups {"type"} where answers have one. Raises DataError, KeyError for a name."""
    layout = LAYOUTS[dataset]
    found = find_file(root, "test_q.json", *(["test_qa.json"] if layout.before_number else []))
    if found.name == "test_qa.json":
        rows = json_rows(found, ("question", "answer"), (*NAMES, *IDS, "video_id", "category_id", "type"))
        mapping = _mapping(root / "youtube_mapping.txt") if dataset == "msvd_qa" else {}
        return unique([_item(root, layout, row, row, mapping) for row in by_id(rows, *IDS).values()], found)
    questions = by_id(json_rows(found, ("question",), (*NAMES, *IDS)), *IDS)
    answers = by_id(json_rows(root / "test_a.json", ("answer",), ("type", *IDS)), *IDS)
    # A list of questions may have been made shorter; every one that is left needs its answer.
    for id, row in questions.items():
        if id not in answers:
            raise DataError(f"{row.where}: expected an answer to '{id}' in {root / 'test_a.json'}, got none.")
    return unique([_item(root, layout, row, answers[id], {}) for id, row in questions.items()], found)


def _item(root: Path, layout: Layout, row: Row, answer: Row, mapping: Mapping[str, str]) -> Item:
    if "video_id" in row.cells:
        name = f"{layout.before_number}{row.name('video_id')}"
        if mapping and name not in mapping:
            raise row.error("video_id", f"a number whose name '{name}' is in youtube_mapping.txt")
        names = [mapping.get(name, name)]
    else:
        names = [layout.before_name + row.name(*NAMES), row.name(*NAMES)]
    kind = answer.name("type") if "type" in answer.cells else None
    return Item(
        id=row.name(*IDS),
        video=find_medium(root, layout.folders, names, layout.suffixes),
        question=row.text("question"),
        answers=(answer.name("answer"),),
        groups={} if kind is None else {"type": layout.types.get(kind, kind)},
    )


def _mapping(path: Path) -> dict[str, str]:
    """Names of files by "vid7", empty without the file."""
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n") if path.is_file() else [], start=1):
        parts = line.split()
        if len(parts) not in (0, 2) or (parts and parts[1] in names):
            raise DataError(f"{path}:{number}: expected the name of a clip and a new number, got {line!r}.")
        if parts:
            names[parts[1]] = parts[0]
    return names
