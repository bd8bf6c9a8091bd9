"""Multiple choice by likelihood: which option does the LLM find likelier with the video than without it?

An option's score is its log-likelihood per token beside the projected video tokens, minus the same without a video;
under the control `no_video` it is the plain log-likelihood per token. Nothing but the LLM's likelihood enters.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor
from tqdm import tqdm

from bridge.generate import OptionScores
from encoder.video import VideoError
from training.data.jsonl import DataError, read_rows
from training.evaluation.answers import Answer, AnswerLog
from training.evaluation.controls import CONTROLS, Question, shown_videos
from training.evaluation.report import Report, report_on

log = logging.getLogger(__name__)

KEYS = {"id", "video", "question", "candidates", "answer"}


@dataclass(frozen=True, kw_only=True)
class McqConfig:
    data: Path
    """Questions in JSONL; video paths are relative to it."""
    model: str = "mini"
    """Name of a chat model, or the folder of a checkpoint."""
    output: Path
    """Folder of run.json, answers.jsonl and summary.json."""
    controls: tuple[str, ...] = CONTROLS
    seed: int = 0
    """Of the wrong videos and of the confidence intervals."""


class Scorer(Protocol):
    """What a benchmark needs of a model."""

    num_frames: int

    def fingerprint(self) -> str:
        """SHA-256 of the trained parts."""

    def watch(self, path: Path) -> Tensor:
        """Video tokens (1, M, llm_dim). Raises VideoError."""

    def score(self, question: str, options: Sequence[str], video: Tensor | None) -> OptionScores:
        """Sums of log-likelihoods and numbers of tokens of the options."""


def read_questions(path: Path) -> list[Question]:
    """All rows of a file. Raises DataError with file and line, also for unknown keys and for an id that comes twice."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    questions: dict[str, Question] = {}
    for number, row in read_rows(path):
        question = parse(f"{path}:{number}", row)
        if question.id in questions:
            raise DataError(f"{path}:{number}: the id '{question.id}' comes twice.")
        questions[question.id] = question
    if not questions:
        raise DataError(f"{path}: expected at least one question, got none.")
    return list(questions.values())


def parse(where: str, row: dict) -> Question:
    """A row as a Question. Raises DataError that says what is wrong `where`."""
    if row.keys() != KEYS:
        unknown, missing = sorted(row.keys() - KEYS), sorted(KEYS - row.keys())
        raise DataError(f"{where}: unknown {unknown}, missing {missing}. Known keys: {', '.join(sorted(KEYS))}.")
    for key in ("id", "video", "question"):
        if not isinstance(row[key], str) or not row[key]:
            raise DataError(f"{where}: expected text in '{key}', got {row[key]!r}.")
    candidates, answer = row["candidates"], row["answer"]
    if (
        not isinstance(candidates, list)
        or len(candidates) < 2
        or not all(isinstance(c, str) and c.strip() for c in candidates)
    ):
        raise DataError(f"{where}: expected two or more texts in 'candidates', got {candidates!r}.")
    if type(answer) is not int or not 0 <= answer < len(candidates):
        raise DataError(f"{where}: expected in 'answer' an index below {len(candidates)}, got {answer!r}.")
    return Question(
        id=row["id"], video=row["video"], question=row["question"], candidates=tuple(candidates), answer=answer
    )


def option_scores(seen: OptionScores, blind: OptionScores) -> list[float]:
    """Log-likelihood per token with the video, minus the same without it."""
    pairs = zip(seen.log_likelihood, seen.tokens, blind.log_likelihood, blind.tokens, strict=True)
    return [with_video / n - without / m for with_video, n, without, m in pairs]


def blind_scores(blind: OptionScores) -> list[float]:
    """Log-likelihood per token without a video."""
    return [likelihood / n for likelihood, n in zip(blind.log_likelihood, blind.tokens, strict=True)]


@dataclass(kw_only=True)
class Examiner:
    """Asks a model. Remembers what the options are worth without a video: all controls share it."""

    scorer: Scorer
    blind: dict[tuple[str, tuple[str, ...]], OptionScores] = field(default_factory=dict)

    def recall(self, questions: Sequence[Question], answers: Iterable[Answer]) -> None:
        """Take what an earlier run found out about options without a video."""
        by_id = {question.id: question for question in questions}
        for answer in answers:
            question = by_id[answer.id]
            self.blind[question.question, question.candidates] = OptionScores(
                log_likelihood=answer.log_likelihood_no_video, tokens=answer.tokens
            )

    def without_video(self, question: Question) -> OptionScores:
        """Scores of the options without a video, computed once for the same words."""
        key = question.question, question.candidates
        if key not in self.blind:
            self.blind[key] = self.scorer.score(question.question, question.candidates, None)
        return self.blind[key]

    def ask(self, control: str, question: Question, shown: str | None, tokens: Tensor | None) -> Answer:
        """Answer a question beside the video `shown`, whose tokens are given; both None for no video."""
        blind = self.without_video(question)
        seen = blind if tokens is None else self.scorer.score(question.question, question.candidates, tokens)
        scores = blind_scores(blind) if tokens is None else option_scores(seen, blind)
        if not all(map(math.isfinite, scores)):
            return failed(control, question, shown, f"expected finite likelihoods, got {scores}")
        return Answer(
            id=question.id, control=control, video=shown, answer=question.answer, predicted=scores.index(max(scores)),
            log_likelihood=seen.log_likelihood, log_likelihood_no_video=blind.log_likelihood, tokens=seen.tokens,
            status="ok",
        )  # fmt: skip


def failed(control: str, question: Question, shown: str | None, reason: str) -> Answer:
    """The answer that could not be had: no prediction, counted as not correct."""
    return Answer(
        id=question.id, control=control, video=shown, answer=question.answer, predicted=None,
        log_likelihood=[], log_likelihood_no_video=[], tokens=[], status="failed", reason=reason,
    )  # fmt: skip


def answer_all(examiner: Examiner, items: Sequence[tuple[str, Question, str | None]], folder: Path) -> Iterator[Answer]:
    """Answer (control, question, video shown) items, those of one video together: it is encoded once, then forgotten."""
    by_video: dict[str | None, list[tuple[str, Question]]] = {}
    for control, question, shown in sorted(items, key=lambda item: item[2] or ""):
        by_video.setdefault(shown, []).append((control, question))
    for shown, asked in by_video.items():
        try:
            tokens = None if shown is None else examiner.scorer.watch(folder / shown)
        except VideoError as error:
            log.warning("%s cannot be shown, %d answers fail: %s", folder / shown, len(asked), error)
            yield from (failed(control, question, shown, str(error)) for control, question in asked)
            continue
        for control, question in asked:
            yield examiner.ask(control, question, shown, tokens)


def run(config: McqConfig, *, load: Callable[[str], Scorer]) -> Report:
    """Ask every question under every control, write the answers as they come, sum them up.

    Goes on where an earlier run in the same folder stopped. `load` turns a model's name into a scorer.
    Raises DataError for unusable data, ResumeError when the folder holds another run.
    """
    questions = read_questions(config.data)
    shown = {control: shown_videos(control, questions, seed=config.seed) for control in config.controls}
    scorer = load(config.model)
    settings = {
        "benchmark": "mcq",
        "data": str(config.data),
        "data_sha256": hashlib.sha256(config.data.read_bytes()).hexdigest(),
        "model": config.model,
        "model_sha256": scorer.fingerprint(),
        "num_frames": scorer.num_frames,
        "seed": config.seed,
    }
    with AnswerLog(config.output, settings) as answers:
        examiner = Examiner(scorer=scorer)
        examiner.recall(questions, answers.done.values())
        items = [(control, q, shown[control][q.id]) for control in config.controls for q in questions]
        todo = [item for item in items if (item[0], item[1].id) not in answers.done]
        with tqdm(total=len(items), initial=len(items) - len(todo), unit="question", desc="mcq") as bar:
            for answer in answer_all(examiner, todo, config.data.parent):
                answers.add(answer)
                bar.update()
        report = report_on(questions, answers.done, seed=config.seed)
        answers.finish(report.summaries)
    return report
