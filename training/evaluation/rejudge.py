"""Judge saved answers: no video is watched again, and nothing is asked twice."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from training.data.items import Item
from training.data.jsonl import DataError
from training.engine.files import ResumeError, write_text
from training.evaluation.answers import Answer, read_answers
from training.evaluation.judge import Judge, JudgeIdentity
from training.evaluation.text_scores import normalise
from training.evaluation.verdict import Outcome, Verdict

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Control and id of an answer."""
Said = TypeVar("Said", bound=Outcome)


@dataclass(frozen=True)
class Case:
    """What a judge is shown."""

    question: str
    answer: str
    prediction: str

    @property
    def digest(self) -> str:
        """SHA-256: a verdict holds for these words and no others."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class JudgeSummary:
    """What the verdicts on one control add up to.

    accuracy, mean_score   yes / scored and the mean of 0 to 5, times the share of the answers that have words: those
                           without (`unanswered`) are a no and a 0 for which nobody is asked. None where all was failed
    scored, unparsed, failed   verdicts; the last two are in neither rate, so that an outage does not move them
    served_by              the models as a server names them
    """

    accuracy: float | None
    mean_score: float | None
    scored: int
    unparsed: int
    failed: int
    unanswered: int
    served_by: tuple[str, ...]


def judge_file(
    answers: Path, items: Sequence[Item], judge: Judge, output: Path, controls: Collection[str] | None = None
) -> dict[str, JudgeSummary]:
    """Judge an answers.jsonl, all controls or those named: a row of judgements-JUDGE.jsonl for each, as it comes.

    Goes on where it stopped: what this judge said of the same words stands, what failed is asked again. Returns the
    summary of every control. Raises DataError for an answer without a question, ResumeError for a file of others.
    """
    rows = read_open_answers(answers, items, controls)
    by_id = {item.id: item for item in items}
    cases = {key: _case(answers, by_id[answer.id], answer) for key, answer in rows.items()}
    verdicts = decide(
        output / f"judgements-{judge.identity.slug}.jsonl", cases, judge.identity, Verdict,
        ask=lambda case: judge.judge(case.question, case.answer, case.prediction),
    )  # fmt: skip
    summaries = {}
    for name in dict.fromkeys(control for control, _ in verdicts):
        summaries[name] = _summary([verdict for (control, _), verdict in verdicts.items() if control == name])
    return summaries


def read_open_answers(path: Path, items: Sequence[Item], controls: Collection[str] | None = None) -> dict[Key, Answer]:
    """The rows of an answers.jsonl, of all controls or of those named. Raises DataError for one that is no prediction,
    or that has no question among the items."""
    ids, choices = {item.id for item in items}, {item.id for item in items if item.candidates}
    rows = {
        (a.control, a.id): a
        for a in read_answers(path)
        if (controls is None or a.control in controls)
        and not (a.id in choices and "prediction" not in a.values)  # an option by number needs no judge
    }
    for answer in rows.values():
        if answer.id not in ids:
            raise DataError(f"{path}: the answer '{answer.id}' has no question among the {len(ids)} of the data.")
        if "prediction" not in answer.values:
            raise DataError(
                f"{path}: expected open answers with a 'prediction', got '{answer.id}' with {[*answer.values]}."
            )
    return rows


def words_of(answer: Answer) -> str | None:
    """What was answered; None where that is nothing."""
    prediction = answer.values["prediction"]
    return None if answer.status == "failed" or not normalise(prediction) else prediction


def decide(
    path: Path, cases: Mapping[Key, Case | None], identity: JudgeIdentity, kind: type[Said], *,
    ask: Callable[[Case], Said],
) -> dict[Key, Said | None]:  # fmt: skip
    """What a judge says of every case, None for None. Raises ResumeError for a file of others.

    What the file at `path` holds stands, save what failed; the rest is asked for and appended, a row as it comes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    decided = _saved(path, identity, kind)
    todo = {key: case for key, case in cases.items() if case is not None and (key, case.digest) not in decided}
    with path.open("a", encoding="utf-8") as file:
        for key, case in tqdm(todo.items(), unit="answer", desc=f"judge {identity.name}"):
            said = ask(case)
            decided[key, case.digest] = said
            file.write(json.dumps(_row(key, case, said, identity)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return {key: None if case is None else decided[key, case.digest] for key, case in cases.items()}


def _case(path: Path, item: Item, answer: Answer) -> Case | None:
    """What is to be judged of an answer; None of one without words."""
    right = item.answers or item.candidates[item.answer or 0 :][:1]
    if not right:
        raise DataError(f"{path}: '{answer.id}' cannot be judged, its question has no right answer.")
    words = words_of(answer)
    return None if words is None else Case(item.question, " or ".join(dict.fromkeys(right)), words)


def _row(key: Key, case: Case, said: Outcome, identity: JudgeIdentity) -> dict[str, object]:
    control, id = key
    return {"id": id, "control": control, "case": case.digest, **asdict(said), "judge": asdict(identity)}


def _saved(path: Path, identity: JudgeIdentity, kind: type[Said]) -> dict[tuple[Key, str], Said]:
    """What a file holds by key and case. Failed ones and half a row at the end are taken out of it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    *lines, torn = text.split("\n")
    if torn:
        log.warning("%s ends in half a row (the run was killed): it is judged again", path)
    decided, kept = {}, []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            said = kind(**{f.name: row[f.name] for f in fields(kind)})
            key, case, judge = (row["control"], row["id"]), row["case"], row["judge"]
        except (ValueError, LookupError, TypeError) as error:
            raise ResumeError(f"{path}:{number}: not a verdict ({error!r}): {line[:80]}") from error
        if judge != asdict(identity):
            raise ResumeError(f"{path}:{number}: a verdict of {judge}, expected one of {asdict(identity)}.")
        if said.status != "failed":
            decided[key, case] = said
            kept.append(line + "\n")
    write_text(path, "".join(kept))
    return decided


def _summary(verdicts: Sequence[Verdict | None]) -> JudgeSummary:
    """`verdicts` of all answers of a control; None stands for one without words."""
    judged = [verdict for verdict in verdicts if verdict is not None]
    scored = [verdict for verdict in judged if verdict.status == "scored"]
    status = [verdict.status for verdict in judged]
    of = {"judged": len(judged), "answers": len(verdicts)}
    return JudgeSummary(
        accuracy=rate([int(verdict.correct is True) for verdict in scored], **of),
        mean_score=rate([verdict.score for verdict in scored if verdict.score is not None], **of),
        scored=len(scored), unparsed=status.count("unparsed"), failed=status.count("failed"),
        unanswered=len(verdicts) - len(judged),
        served_by=tuple(sorted({verdict.served_by for verdict in judged if verdict.served_by})),
    )  # fmt: skip


def rate(values: Sequence[int], *, judged: int, answers: int) -> float | None:
    """The mean of what a judge scored, times the share of `answers` that were for it to judge: the others are worth 0.

    None where nothing was scored of what was to be judged, or where there are no answers.
    """
    # Adding the others to the denominator alone would let an outage, which adds nothing to it, lower the rate.
    mean = sum(values) / len(values) if values else None if judged else 0.0
    return None if mean is None or not answers else mean * judged / answers
