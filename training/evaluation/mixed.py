"""A benchmark whose questions are partly multiple choice and partly open."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.items import Item
from training.evaluation.answers import Answer, Status
from training.evaluation.choice import ChoiceExam
from training.evaluation.exam import Exam
from training.evaluation.open_ended import OpenExam
from training.evaluation.scorer import Seen


@dataclass(kw_only=True)
class MixedExam:
    """Puts every item as what it is; "accuracy" is over both kinds."""

    choice: ChoiceExam
    open: OpenExam
    headline = ("accuracy",)

    @property
    def compared(self) -> tuple[str, ...]:
        return self.choice.compared

    def wording(self, item: Item) -> str:
        return self._of(item).wording(item)

    def recall(self, items: Sequence[Item], answers: Iterable[Answer]) -> None:
        chosen = {item.id for item in items if item.candidates}
        self.choice.recall(items, [answer for answer in answers if answer.id in chosen])

    def ask(self, control: str, item: Item, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        return self._of(item).ask(control, item, seen, seed=seed)

    def blank(self, item: Item) -> dict[str, Any]:
        return self._of(item).blank(item)

    def score(self, item: Item, answer: Answer) -> dict[str, float]:
        return self._of(item).score(item, answer)

    def expected(self, item: Item) -> list[str]:
        return self._of(item).expected(item)

    def score_names(self, control: str, item: Item) -> tuple[str, ...]:
        return self._of(item).score_names(control, item)

    def derived(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        return {}

    def _of(self, item: Item) -> Exam:
        return self.choice if item.candidates else self.open
