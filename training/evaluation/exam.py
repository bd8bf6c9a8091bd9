"""What every kind of question has in common: how it is asked and what its answer is worth."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from training.data.items import Item
from training.evaluation.answers import Answer, Status
from training.evaluation.scorer import Seen


class AnswerError(Exception):
    """A model gave nothing that can be scored; the message says what came."""


class Exam(Protocol):
    """One kind of question: multiple choice, open, or free description."""

    headline: tuple[str, ...]
    """Names among the scores that stand in front."""
    compared: tuple[str, ...]
    """Names among the scores of which the gap to `full` is told."""

    def wording(self, item: Item) -> str:
        """All that the model is told of an item, and the limits of its answer; the hash over all is kept with the run."""

    def recall(self, items: Sequence[Item], answers: Iterable[Answer]) -> None:
        """Take over what an earlier run in the same folder has found out."""

    def ask(self, control: str, item: Item, seen: Seen, *, seed: int) -> tuple[dict[str, Any], Status]:
        """The values of a row, and its status. Raises AnswerError."""

    def blank(self, item: Item) -> dict[str, Any]:
        """The values of an item that failed."""

    def score(self, item: Item, answer: Answer) -> dict[str, float]:
        """Named scores of one answer that did not fail, each from 0 to 1."""

    def expected(self, item: Item) -> list[str]:
        """What a right answer says, for people to read; the options of a choice are not repeated."""

    def score_names(self, control: str, item: Item) -> tuple[str, ...]:
        """The scores that an answer to the item has under a control: a failed one is zero in all of them."""

    def derived(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
        """Controls that need no further answers: from those of `full`, scores of each item in the items' order."""
