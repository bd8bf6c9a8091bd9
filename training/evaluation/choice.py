"""Multiple choice by likelihood: which option does the LLM find likelier with the video than without it?

An option's score is its log-likelihood per token beside the projected video tokens, minus the same without a video;
under the control `no_video` it is the plain log-likelihood per token. Nothing but the LLM's likelihood enters.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.likelihood import OptionScores
from training.data.items import Item
from training.evaluation.answers import Answer, Status
from training.evaluation.controls import WITHHELD, put
from training.evaluation.exam import AnswerError
from training.evaluation.option_parser import parse_option
from training.evaluation.scorer import Scorer, Seen

FORMS = ("corrected", "length_normalised", "raw")
LETTER_TOKENS = 16


def form_scores(form: str, seen: OptionScores, blind: OptionScores) -> list[float]:
    """Scores of the options in one of FORMS: the sum, the sum per token, or that minus the same without the video."""
    if form == "raw":
        return list(seen.log_likelihood)
    per_token = [value / n for value, n in zip(seen.log_likelihood, seen.tokens, strict=True)]
    if form == "length_normalised":
        return per_token
    without = [value / n for value, n in zip(blind.log_likelihood, blind.tokens, strict=True)]
    return [a - b for a, b in zip(per_token, without, strict=True)]


def best(scores: Sequence[float]) -> int:
    """Index of the highest score, the first one of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


@dataclass(kw_only=True)
class ChoiceExam:
    """Asks for the likelihood of every option; `ask_letters` also lets the model name one, in the words of `prompt`."""

    scorer: Scorer | None
    """None where answers are only scored, not asked for."""
    prompt: Callable[[Item], str]
    ask_letters: bool = False
    blind: dict[tuple[str, tuple[str, ...]], OptionScores] = field(default_factory=dict)
    """What options are worth without a video, by question and options: all controls share it."""
    nothing: Seen = field(default_factory=lambda: Seen(None))
    headline = ("accuracy",)

    @property
    def compared(self) -> tuple[str, ...]:
        return ("accuracy", "letter") if self.ask_letters else ("accuracy",)

    def wording(self, item: Item) -> str:
        return f"{question_of(item)}|{self.prompt(item)}|{LETTER_TOKENS}|{WITHHELD}"

    def recall(self, items: Sequence[Item], answers: Iterable[Answer]) -> None:
        by_id = {item.id: item for item in items}
        for answer in answers:
            item, values = by_id[answer.id], answer.values
            # Which words stood on the screen is found out anew.
            if answer.control in ("full", "wrong_video", "no_video") and not item.timed_context:
                self.blind[question_of(item), item.candidates] = OptionScores(
                    log_likelihood=values["log_likelihood_no_video"], tokens=values["tokens"]
                )

    def ask(self, control: str, item: Item, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        asked, order = put(control, item, seed=seed)
        blind = self._without_video(asked)
        shown = blind if seen.tokens is None else self.scorer.score(question_of(asked), asked.candidates, seen)
        scores = form_scores("length_normalised" if control == "no_video" else "corrected", shown, blind)
        if not all(map(math.isfinite, scores)):
            raise AnswerError(f"expected finite likelihoods, got {scores}")
        values = {
            "answer": item.answer, "predicted": order[best(scores)],
            "log_likelihood": _in_place(shown.log_likelihood, order),
            "log_likelihood_no_video": _in_place(blind.log_likelihood, order), "tokens": _in_place(shown.tokens, order),
        }  # fmt: skip
        if self.ask_letters:
            text = self.scorer.answer(self.prompt(asked), seen, max_new_tokens=LETTER_TOKENS)
            parsed = parse_option(text, asked.candidates)
            values |= {"generated": text, "parsed": None if parsed is None else order[parsed]}
        return values, "ok"

    def blank(self, item: Item) -> dict[str, Any]:
        return {
            "answer": item.answer, "predicted": None, "log_likelihood": [], "log_likelihood_no_video": [], "tokens": [],
        }  # fmt: skip

    def score(self, item: Item, answer: Answer) -> dict[str, float]:
        values = answer.values
        scores = {"accuracy": float(values["predicted"] == item.answer)}
        seen = OptionScores(log_likelihood=values["log_likelihood"], tokens=values["tokens"])
        blind = OptionScores(log_likelihood=values["log_likelihood_no_video"], tokens=values["tokens"])
        for form in _forms(answer.control):
            scores[form] = float(best(form_scores(form, seen, blind)) == item.answer)
        if "parsed" in values:
            scores["letter"] = float(values["parsed"] == item.answer)
            scores["letter_unparsed"] = float(values["parsed"] is None)
        return scores

    def expected(self, item: Item) -> list[str]:
        return []

    def score_names(self, control: str, item: Item) -> tuple[str, ...]:
        return ("accuracy", *_forms(control), *(("letter",) if self.ask_letters else ()))

    def derived(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        return {}

    def _without_video(self, item: Item) -> OptionScores:
        key = question_of(item), item.candidates
        if key not in self.blind:
            self.blind[key] = self.scorer.score(*key, self.nothing)
        return self.blind[key]


def _forms(control: str) -> tuple[str, ...]:
    """Without a video, what the video adds is nothing, and no form of its own."""
    return FORMS if control != "no_video" else ("length_normalised", "raw")


def question_of(item: Item) -> str:
    """What is read before an option: the question, after the words on its video's screen."""
    return f"{item.context}\n{item.question}" if item.context else item.question


def _in_place(values: Sequence[Any], order: Sequence[int]) -> list[Any]:
    """Values of the options as they were put -> in the order of the item."""
    placed: list[Any] = [None] * len(order)
    for index, value in zip(order, values, strict=True):
        placed[index] = value
    return placed
