"""Judging saved answers: joined by id, resumed, never mixed, and an outage leaves every score as it was."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from training.data.items import Item
from training.data.jsonl import DataError
from training.engine.files import ResumeError
from training.evaluation.judge import JudgeIdentity, Verdict
from training.evaluation.rejudge import JudgeSummary, judge_file

ITEMS = [
    Item(id=f"q{n}", video=f"{n}.mp4", question=f"What is {n}?", answers=(word, f"a {word}"))
    for n, word in enumerate(["cat", "dog", "boat", "tree"])
]
ROWS = [
    {"id": "q0", "control": "full", "video": "0.mp4", "prediction": "cat", "status": "ok"},
    {"id": "q1", "control": "full", "video": "1.mp4", "prediction": "bird", "status": "ok"},
    {"id": "q2", "control": "full", "video": "2.mp4", "prediction": "boat", "status": "ok"},
    {"id": "q3", "control": "full", "video": "3.mp4", "prediction": "", "status": "unparsed"},
    {"id": "q0", "control": "no_video", "video": None, "prediction": "dog", "status": "ok"},
]


@dataclass
class FakeJudge:
    """Says yes where the prediction is among the right answers; fails as long as `down`."""

    version: str = "1"
    down: bool = False
    unsure_of: str = "-"
    die_after: int | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def identity(self) -> JudgeIdentity:
        return JudgeIdentity(name="fake judge", version=self.version, prompt_sha256="p")

    def judge(self, question: str, answer: str, prediction: str) -> Verdict:
        if self.die_after is not None and len(self.asked) >= self.die_after:
            raise KeyboardInterrupt
        self.asked.append((question, answer, prediction))
        if self.down:
            return Verdict(status="failed", reason="cannot be reached")
        if prediction == self.unsure_of:
            return Verdict(status="unparsed", raw="hm", reason="neither yes nor no")
        right = prediction in answer.split(" or ")
        return Verdict(status="scored", correct=right, score=5 if right else 1, raw="-", served_by="fake-0613")


@pytest.fixture
def save(tmp_path: Path) -> Callable[[list[dict]], Path]:
    def write(rows: list[dict]) -> Path:
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


Save = Callable[[list[dict]], Path]


def saved_rows(folder: Path) -> list[dict]:
    (path,) = folder.glob("judgements-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_answer_with_words_is_judged_and_its_verdict_kept(save: Save, tmp_path: Path) -> None:
    judge = FakeJudge()
    summaries = judge_file(save(ROWS[::-1]), ITEMS, judge, tmp_path / "out")
    assert summaries["full"] == JudgeSummary(
        accuracy=2 / 4, mean_score=(5 + 1 + 5 + 0) / 4, scored=3, unparsed=0, failed=0, unanswered=1,
        served_by=("fake-0613",),
    )  # fmt: skip
    assert summaries["no_video"].accuracy == 0.0
    assert ("What is 2?", "boat or a boat", "boat") in judge.asked, "joined by id, whatever the order"
    assert len(judge.asked) == 4, "nobody is asked about an answer without words"
    row = next(row for row in saved_rows(tmp_path / "out") if (row["control"], row["id"]) == ("full", "q0"))
    assert (row["status"], row["correct"], row["score"], row["raw"]) == ("scored", True, 5, "-")
    assert row["judge"] == asdict(judge.identity)


def test_an_outage_scores_nothing_as_wrong_and_is_made_up_for_later(save: Save, tmp_path: Path) -> None:
    rows = ROWS[:3]
    summaries = judge_file(save(rows), ITEMS, FakeJudge(down=True), tmp_path / "out")
    assert summaries["full"] == JudgeSummary(
        accuracy=None, mean_score=None, scored=0, unparsed=0, failed=3, unanswered=0, served_by=()
    )
    judge = FakeJudge()
    assert judge_file(save(rows), ITEMS, judge, tmp_path / "out")["full"].accuracy == pytest.approx(2 / 3)
    assert len(judge.asked) == 3
    down = FakeJudge(down=True)
    assert judge_file(save(rows), ITEMS, down, tmp_path / "out")["full"].accuracy == pytest.approx(2 / 3)
    assert down.asked == [], "what is judged is judged"
    assert [row["status"] for row in saved_rows(tmp_path / "out")] == ["scored"] * 3


def test_an_outage_does_not_move_the_rate_of_a_model_that_left_answers_empty(save: Save, tmp_path: Path) -> None:
    """Three of four answers have words and all three are right; the judge gets to hear one, then none of them."""
    rows = [row | {"prediction": word} for row, word in zip(ROWS, ["cat", "dog", "boat", ""], strict=False)]
    judge = FakeJudge()
    judge_file(save(rows[:1]), ITEMS, judge, tmp_path / "out")
    judge.down = True
    summary = judge_file(save(rows), ITEMS, judge, tmp_path / "out")["full"]
    assert (summary.accuracy, summary.scored, summary.failed, summary.unanswered) == (3 / 4, 1, 2, 1)
    summary = judge_file(save(rows), ITEMS, FakeJudge(version="2", down=True), tmp_path / "out")["full"]
    assert (summary.accuracy, summary.mean_score, summary.failed) == (None, None, 3)
    judge.down = False
    summary = judge_file(save(rows), ITEMS, judge, tmp_path / "out")["full"]
    assert (summary.accuracy, summary.scored, summary.failed, summary.unanswered) == (3 / 4, 3, 0, 1)


def test_what_the_judge_did_not_decide_is_in_no_rate(save: Save, tmp_path: Path) -> None:
    summary = judge_file(save(ROWS[:3]), ITEMS, FakeJudge(unsure_of="bird"), tmp_path / "out")["full"]
    assert (summary.accuracy, summary.mean_score) == (1.0, 5.0)
    assert (summary.scored, summary.unparsed, summary.failed) == (2, 1, 0)


def test_a_killed_call_goes_on_and_ends_as_if_it_had_not_been_killed(save: Save, tmp_path: Path) -> None:
    whole = judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "whole")
    first = FakeJudge(die_after=2)
    with pytest.raises(KeyboardInterrupt):
        judge_file(save(ROWS), ITEMS, first, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("judgements-*.jsonl")
    path.write_text(path.read_text() + '{"id": "torn')
    second = FakeJudge()
    assert judge_file(save(ROWS), ITEMS, second, tmp_path / "out") == whole
    assert len(first.asked) + len(second.asked) == 4
    assert saved_rows(tmp_path / "out") == saved_rows(tmp_path / "whole")


def test_another_judge_starts_anew_and_another_prediction_too(save: Save, tmp_path: Path) -> None:
    judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "out")
    other = FakeJudge(version="2")
    judge_file(save(ROWS), ITEMS, other, tmp_path / "out")
    assert len(other.asked) == 4
    assert len(list((tmp_path / "out").glob("judgements-*.jsonl"))) == 2
    again = FakeJudge()
    changed = [ROWS[0], ROWS[1] | {"prediction": "dog"}, *ROWS[2:]]
    assert judge_file(save(changed), ITEMS, again, tmp_path / "out")["full"].accuracy == 3 / 4
    assert [prediction for _, _, prediction in again.asked] == ["dog"]


def test_verdicts_of_others_in_the_file_are_refused(save: Save, tmp_path: Path) -> None:
    judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("judgements-*.jsonl")
    path.write_text(path.read_text().replace('"version": "1"', '"version": "0"'))
    with pytest.raises(ResumeError, match=r"judgements-fake-judge-\w{8}\.jsonl:1: a verdict of"):
        judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "out")
    path.write_text("{}\n")
    with pytest.raises(ResumeError, match=":1: not a verdict"):
        judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "out")


def test_controls_may_be_chosen(save: Save, tmp_path: Path) -> None:
    assert list(judge_file(save(ROWS), ITEMS, FakeJudge(), tmp_path / "out", controls=["no_video"])) == ["no_video"]


def test_a_failed_answer_is_a_no_that_is_not_asked(save: Save, tmp_path: Path) -> None:
    judge = FakeJudge()
    failed = {"id": "q0", "control": "full", "video": "0.mp4", "prediction": None, "status": "failed", "reason": "-"}
    summary = judge_file(save([failed, ROWS[2]]), ITEMS, judge, tmp_path / "out")["full"]
    assert (summary.accuracy, summary.scored, summary.unanswered) == (0.5, 1, 1)
    assert len(judge.asked) == 1
    summary = judge_file(save([failed]), ITEMS, judge, tmp_path / "out")["full"]
    assert (summary.accuracy, summary.mean_score, summary.scored) == (0.0, 0.0, 0)


def test_a_choice_is_judged_by_the_words_of_the_right_option(save: Save, tmp_path: Path) -> None:
    judge = FakeJudge()
    item = Item(id="q0", video="0.mp4", question="What?", candidates=("cat", "dog"), answer=1)
    judge_file(save([ROWS[0]]), [item], judge, tmp_path / "out")
    assert judge.asked == [("What?", "dog", "cat")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0] | {"id": "q9"}, "'q9' has no question among the 5"),
        ({"id": "q0", "control": "full", "video": None, "predicted": 1, "status": "ok"}, "expected open answers"),
        (ROWS[0] | {"id": "bare"}, "'bare' cannot be judged"),
    ],
)
def test_answers_that_do_not_fit_the_questions_are_refused(save: Save, tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge_file(save([row]), [*ITEMS, Item(id="bare", video="-", question="What?")], FakeJudge(), tmp_path / "out")


def test_a_prediction_that_holds_code_stays_text(save: Save, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    judge = FakeJudge()
    judge_file(save([ROWS[0] | {"prediction": code}]), ITEMS, judge, tmp_path / "out")
    assert judge.asked[0][2] == code
    assert not mark.exists()
