"""EgoSchema: multiple choice about three minutes of first-person video; the 500 questions whose answers are public.

From github.com/egoschema/EgoSchema, which also tells how to get the videos:

    questions.json                   [{"q_uid", "question", "option 0", ..., "option 4", "google_drive_id"}], 5,031 rows
    subset_answers.json              {q_uid: index}
    videos/ or good_clips_git/       {q_uid}.mp4

Questions without a public answer are left out: they are scored by their owners' server only.
"""

from pathlib import Path

from training.data.benchmarks.files import VIDEO_SUFFIXES, Row, by_id, find_medium, json_rows, read_object
from training.data.items import Item, unique
from training.data.jsonl import DataError

OPTIONS = tuple(f"option {i}" for i in range(5))


def read(root: Path) -> list[Item]:
    """The answered questions, in the order of the questions. Raises DataError, also for an answer to no question."""
    path, answers_path = root / "questions.json", root / "subset_answers.json"
    questions = by_id(json_rows(path, ("q_uid", *OPTIONS), ("question", "google_drive_id")), "q_uid")
    answers = read_object(answers_path)
    for id in answers:
        if id not in questions:
            raise DataError(f"{answers_path}: expected a question '{id}' in {path}, got none.")
    return unique(
        [
            _item(root, row, Row(f"{answers_path}: '{id}'", {"answer": answers[id]}))
            for id, row in questions.items()
            if id in answers
        ],
        path,
    )


def _item(root: Path, row: Row, answer: Row) -> Item:
    id = row.name("q_uid")
    return Item(
        id=id,
        video=find_medium(root, ("videos", "good_clips_git"), [id], VIDEO_SUFFIXES),
        question=row.text("question"),
        candidates=tuple(row.text(option) for option in OPTIONS),
        answer=answer.index("answer", len(OPTIONS)),
    )
