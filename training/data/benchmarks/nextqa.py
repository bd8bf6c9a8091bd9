"""NExT-QA: why, how, before and after: questions about daily life, as multiple choice and as open questions.

Multiple choice from github.com/doc-doc/NExT-QA, open questions from github.com/doc-doc/NExT-OE; their tables have the
same names, so each needs a root of its own:

    test.csv or val.csv                    video,frame_count,width,height,question,answer,qid,type[,a0,a1,a2,a3,a4]
    map_vid_vidorID.json                   {video: "1150/6233408665"}; without it files are named by `video`
    add_reference_answer_{split}.json      {video: {qid: answer}}, second answers to open questions; may be absent
    NExTVideo/ or videos/                  {mapped name}.mp4 or {video}.mp4

Where both tables are there, test.csv is read. `answer` is the index of the option in the one kind and text in the
other. `qid` is unique within a video only.
"""

from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, Row, find_file, find_medium, read_object, table_rows
from training.data.items import Item, unique
from training.data.jsonl import DataError

OPTIONS = ("a0", "a1", "a2", "a3", "a4")
NEEDED = ("video", "question", "answer", "qid", "type")
KNOWN = ("frame_count", "width", "height", "additional_ref_answer")
FAMILIES = {"C": "causal", "T": "temporal", "D": "descriptive"}
"""By the first letter of a type: CW CH, TN TC TP, DC DL DO DB."""
SPLITS = ("test", "val")


def read(root: Path, *, open_ended: bool = False, split: str | None = None) -> list[Item]:
    """Questions of a split, by default of the first of SPLITS whose table is there; the id is video_qid.

    Raises DataError, also when the table is the one of the other kind.
    """
    path = find_file(root, *(f"{name}.csv" for name in ([split] if split else SPLITS)))
    rows = table_rows(path, NEEDED if open_ended else (*NEEDED, *OPTIONS), (*KNOWN, *OPTIONS))
    if open_ended and rows and OPTIONS[0] in rows[0].cells:
        raise DataError(f"{path}:1: expected the table of open questions, got columns {', '.join(OPTIONS)}.")
    mapping = _mapping(root)
    others = _second_answers(root / f"add_reference_answer_{path.stem}.json") if open_ended else {}
    return unique([_item(root, row, mapping, others, open_ended=open_ended) for row in rows], path)


def _item(root: Path, row: Row, mapping: dict[str, str], others: dict[str, str], *, open_ended: bool) -> Item:
    video, kind = row.name("video"), row.text("type")
    if kind[0] not in FAMILIES:
        raise row.error("type", f"a type that begins with one of {', '.join(FAMILIES)}")
    if mapping and video not in mapping:
        raise row.error("video", "a key of map_vid_vidorID.json")
    id = f"{video}_{row.name('qid')}"
    medium = find_medium(root, ("NExTVideo", "videos"), [mapping.get(video, video), video], VIDEO_SUFFIXES)
    groups = {"type": kind, "family": FAMILIES[kind[0]]}
    if open_ended:
        answers = tuple(dict.fromkeys([row.text("answer"), *filter(None, [others.get(id)])]))
        return Item(id=id, video=medium, question=row.text("question"), answers=answers, groups=groups)
    candidates = tuple(row.text(option) for option in OPTIONS)
    return Item(
        id=id, video=medium, question=row.text("question"), candidates=candidates,
        answer=row.index("answer", len(candidates)), groups=groups,
    )  # fmt: skip


def _mapping(root: Path) -> dict[str, str]:
    path = root / "map_vid_vidorID.json"
    return {key: str(value) for key, value in read_object(path).items()} if path.is_file() else {}


def _second_answers(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    answers = {}
    for video, by_qid in read_object(path).items():
        if not isinstance(by_qid, dict):
            raise DataError(f"{path}: expected answers by qid under '{video}', got {by_qid!r}.")
        answers |= {f"{video}_{qid}": str(answer).strip() for qid, answer in by_qid.items()}
    return answers
