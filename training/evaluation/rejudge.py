"""Judge saved answers: no video is watched again, and nothing is asked twice."""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tqdm import tqdm

from training.data.items import Item
from training.data.jsonl import DataError
from training.evaluation.answers import Answer, ResumeError, read_answers, replace
from training.evaluation.judge import Judge, JudgeIdentity, Verdict
from training.evaluation.text_scores import normalise

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Control and id of an answer."""


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
    by_id = {item.id: item for item in items}
    rows = {(a.control, a.id): a for a in read_answers(answers) if controls is None or a.control in controls}
    cases = {key: _case(answers, by_id, answer) for key, answer in rows.items()}
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"judgements-{judge.identity.slug}.jsonl"
    verdicts = _saved(path, judge.identity)
    todo = {key: case for key, case in cases.items() if case is not None and (key, case.digest) not in verdicts}
    with path.open("a", encoding="utf-8") as file:
        for key, case in tqdm(todo.items(), unit="answer", desc=f"judge {judge.identity.name}"):
            verdict = judge.judge(case.question, case.answer, case.prediction)
            verdicts[key, case.digest] = verdict
            file.write(json.dumps(_row(key, case, verdict, judge.identity)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    summaries = {}
    for name in dict.fromkeys(control for control, _ in cases):
        own = [(key, case) for key, case in cases.items() if key[0] == name]
        summaries[name] = _summary([None if case is None else verdicts[key, case.digest] for key, case in own])
    return summaries


def _case(path: Path, by_id: Mapping[str, Item], answer: Answer) -> Case | None:
    """What is to be judged of an answer; None of one without words."""
    item = by_id.get(answer.id)
    if item is None:
        raise DataError(f"{path}: the answer '{answer.id}' has no question among the {len(by_id)} of the data.")
    if "prediction" not in answer.values:
        raise DataError(
            f"{path}: expected open answers with a 'prediction', got '{answer.id}' with {[*answer.values]}."
        )
    right = item.answers or item.candidates[item.answer or 0 :][:1]
    if not right:
        raise DataError(f"{path}: '{answer.id}' cannot be judged, its question has no right answer.")
    prediction = answer.values["prediction"]
    if answer.status == "failed" or not normalise(prediction):
        return None
    return Case(item.question, " or ".join(dict.fromkeys(right)), prediction)


def _row(key: Key, case: Case, verdict: Verdict, identity: JudgeIdentity) -> dict[str, object]:
    control, id = key
    return {"id": id, "control": control, "case": case.digest, **asdict(verdict), "judge": asdict(identity)}


def _saved(path: Path, identity: JudgeIdentity) -> dict[tuple[Key, str], Verdict]:
    """The verdicts of a file by key and case. Failed ones and half a row at the end are taken out of it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    *lines, torn = text.split("\n")
    if torn:
        log.warning("%s ends in half a row (the run was killed): it is judged again", path)
    verdicts, kept = {}, []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            verdict = Verdict(**{f.name: row[f.name] for f in fields(Verdict)})
            key, case, judge = (row["control"], row["id"]), row["case"], row["judge"]
        except (ValueError, LookupError, TypeError) as error:
            raise ResumeError(f"{path}:{number}: not a verdict ({error!r}): {line[:80]}") from error
        if judge != asdict(identity):
            raise ResumeError(f"{path}:{number}: a verdict of {judge}, expected one of {asdict(identity)}.")
        if verdict.status != "failed":
            verdicts[key, case] = verdict
            kept.append(line + "\n")
    replace(path, "".join(kept))
    return verdicts


def _summary(verdicts: Sequence[Verdict | None]) -> JudgeSummary:
    """`verdicts` of all answers of a control; None stands for one without words."""
    judged = [verdict for verdict in verdicts if verdict is not None]
    scored = [verdict for verdict in judged if verdict.status == "scored"]
    status = [verdict.status for verdict in judged]

    def rate(values: list[int]) -> float | None:
        # Adding the unanswered to the denominator alone would let an outage, which adds nothing to it, lower the rate.
        mean = sum(values) / len(values) if values else None if judged else 0.0
        return None if mean is None else mean * len(judged) / len(verdicts)

    return JudgeSummary(
        accuracy=rate([int(verdict.correct is True) for verdict in scored]),
        mean_score=rate([verdict.score for verdict in scored if verdict.score is not None]),
        scored=len(scored), unparsed=status.count("unparsed"), failed=status.count("failed"),
        unanswered=len(verdicts) - len(judged),
        served_by=tuple(sorted({verdict.served_by for verdict in judged if verdict.served_by})),
    )  # fmt: skip
