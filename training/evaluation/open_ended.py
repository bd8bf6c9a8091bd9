"""Open questions: a generated answer that must equal one of the right ones, and a free description with keywords."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.benchmarks.ours import Description
from training.data.items import Item
from training.evaluation.answers import Answer, Status
from training.evaluation.controls import WITHHELD, put
from training.evaluation.scorer import Scorer, Seen
from training.evaluation.text_scores import exact, keywords_hit, normalise, number_match, synonym, token_f1
from training.evaluation.wups import installed_wordnet, wups

ALPHAS = (0.0, 0.9)
"""Of WUPS, as NExT-QA gives it."""


def _wups_name(alpha: float) -> str:
    return f"WUPS@{alpha:g}"


@dataclass(kw_only=True)
class OpenExam:
    """Asks in the words of `prompt`. "accuracy" is equality after normalisation; the softer scores stand beside it."""

    scorer: Scorer | None
    prompt: Callable[[Item], str]
    max_new_tokens: int = 32
    whole_words: Callable[[Item], bool] | None = None
    """Adds WUPS; says of an item whether its words must be the same, all or nothing (see wups)."""
    headline: tuple[str, ...] = ("accuracy",)

    @property
    def compared(self) -> tuple[str, ...]:
        return self.headline

    def wording(self, item: Item) -> str:
        return f"{self.prompt(item)}|{self.max_new_tokens}|{WITHHELD}"

    def recall(self, items: Sequence[Item], answers: Iterable[Answer]) -> None:
        pass

    def ask(self, control: str, item: Item, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        asked, _ = put(control, item, seed=seed)
        text = self.scorer.answer(self.prompt(asked), seen, max_new_tokens=self.max_new_tokens)
        return {"prediction": text}, "ok" if normalise(text) else "unparsed"

    def blank(self, item: Item) -> dict[str, Any]:
        return {"prediction": None}

    def score(self, item: Item, answer: Answer) -> dict[str, float]:
        text = answer.values["prediction"]
        scores = {
            "accuracy": float(exact(text, item.answers)), "synonym": float(synonym(text, item.answers)),
            "token_f1": max(token_f1(text, right) for right in item.answers),
        }  # fmt: skip
        if "number" in self.score_names(answer.control, item):
            scores["number"] = float(bool(number_match(text, item.answers[0])))
        if self.whole_words is not None:
            for alpha in ALPHAS:
                value = wups(text, item.answers, alpha=alpha, whole=self.whole_words(item))
                scores |= {} if value is None else {_wups_name(alpha): value}
        return scores

    def expected(self, item: Item) -> list[str]:
        return list(item.answers)

    def score_names(self, control: str, item: Item) -> tuple[str, ...]:
        number = () if number_match("", item.answers[0]) is None else ("number",)
        words = () if self.whole_words is None or installed_wordnet() is None else tuple(map(_wups_name, ALPHAS))
        return ("accuracy", "synonym", "token_f1", *number, *words)

    def derived(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        return {}


@dataclass(kw_only=True)
class DescribeExam:
    """Asks what happens; an answer should name the subject and the action. `shifted`: the keywords of other videos."""

    scorer: Scorer | None
    max_new_tokens: int = 64
    headline = ("subject", "action", "both")
    compared = ("subject", "action", "both")

    def wording(self, item: Item) -> str:
        return f"{item.question}|{self.max_new_tokens}"

    def recall(self, items: Sequence[Item], answers: Iterable[Answer]) -> None:
        pass

    def ask(self, control: str, item: Item, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        text = self.scorer.answer(item.question, seen, max_new_tokens=self.max_new_tokens)
        return {"prediction": text}, "ok" if normalise(text) else "unparsed"

    def blank(self, item: Item) -> dict[str, Any]:
        return {"prediction": None}

    def score(self, item: Description, answer: Answer) -> dict[str, float]:
        subject, action = (keywords_hit(answer.values["prediction"], keys) for keys in (item.subject, item.action))
        return {"subject": float(subject), "action": float(action), "both": float(subject and action)}

    def expected(self, item: Description) -> list[str]:
        return [f"{name}: {', '.join(keys)}" for name, keys in (("subject", item.subject), ("action", item.action))]

    def score_names(self, control: str, item: Item) -> tuple[str, ...]:
        return self.headline

    def derived(self, items: Sequence[Description], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        if len(items) < 2:
            return {}
        shifted = []
        for own, answer in zip(items, answers, strict=True):
            others = [self.score(other, answer) for other in items if other is not own and answer.status != "failed"]
            shifted.append({name: sum(o[name] for o in others) / max(1, len(others)) for name in self.headline})
        return {"shifted": shifted}
