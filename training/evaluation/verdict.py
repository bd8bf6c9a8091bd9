"""What a judge said, and how it is read out of words. What it did not say is never made up."""

import re
from dataclasses import dataclass, field
from typing import Literal

KEYED_VERDICT = re.compile(r"""["']?\bpred\w*["']?\s*[:=]\s*["']?(yes|no)\b""", re.IGNORECASE)
KEYED_SCORE = re.compile(r"""["']?\bscore["']?\s*[:=]\s*["']?(-?\d+(?:\.\d+)?)(?!\w|\s*(?:-|to)\s*\d)""", re.IGNORECASE)
BOTH_OFFERED = re.compile(r"\byes\s*(?:/|or)\s*no\b", re.IGNORECASE)
YES_OR_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
LEADING = re.compile(r"\W*(yes|no)\b(?=\s*(?:[^\w\s]|$))", re.IGNORECASE)
OUT_OF_FIVE = re.compile(r"(\d)\s*(?:/|out of)\s*5\b", re.IGNORECASE)
LEADING_SCORE = re.compile(r"[^\w.-]*(\d(?:\.0)?)(?=[^\S\n]*(?:[^\w\s]|\n|$))(?!\W*\d)")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?!\w)")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of asking a judge: "scored", "unparsed" words without what was asked for, or "failed".

    score               0 to 5, None where none was read
    log_probabilities   of what it chose among (yes, no, 0, ..., 5) in nats, as far as the judge tells
    raw                 the words as they came
    reason              why it is not scored
    served_by           the model as the server names it: an alias may move on to another one
    """

    status: Literal["scored", "unparsed", "failed"]
    score: int | None = None
    log_probabilities: dict[str, float] = field(default_factory=dict)
    raw: str = ""
    reason: str | None = None
    served_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict(Outcome):
    """A yes or a no, with a score where one was read."""

    correct: bool | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a verdict that would count without being one."""
        if (self.status == "scored") != (self.correct is not None):
            raise ValueError(f"expected a yes or no where, and only where, it is scored, got {self}.")


@dataclass(frozen=True, kw_only=True)
class Rating(Outcome):
    """A score alone."""

    def __post_init__(self) -> None:
        """Raises ValueError for a rating that would count without being one."""
        if (self.status == "scored") != (self.score is not None):
            raise ValueError(f"expected a score where, and only where, it is scored, got {self}.")


def parse_verdict(reply: str) -> Verdict:
    """Read yes or no and an integer from 0 to 5 out of a reply: JSON, something like a Python dict, or plain words.

    Only patterns are looked for; a reply is never evaluated. What is ambiguous (both words, two numbers, 4.8, 7) is not
    read at all. Without yes or no the reply is "unparsed", whatever number it holds.
    """
    correct, score = _read_correct(reply), _read_score(reply)
    if correct is None:
        return Verdict(status="unparsed", score=score, raw=reply, reason="neither yes nor no")
    return Verdict(status="scored", correct=correct, score=score, raw=reply)


def parse_rating(reply: str) -> Rating:
    """Read an integer from 0 to 5 out of a reply that holds nothing else, begins with it, or calls it its score.

    A number in the middle of a sentence may be one of the video's: "3 dogs" is "unparsed".
    """
    text = OUT_OF_FIVE.sub(r"\1", reply)
    found = KEYED_SCORE.search(text) or LEADING_SCORE.match(text)
    score = _as_score(found[1]) if found else None
    if score is None:
        return Rating(status="unparsed", raw=reply, reason="no integer from 0 to 5")
    return Rating(status="scored", score=score, raw=reply)


def _read_correct(reply: str) -> bool | None:
    text = BOTH_OFFERED.sub(" ", reply)
    keyed = KEYED_VERDICT.search(text)
    if keyed:
        return keyed[1].lower() == "yes"
    leading = LEADING.match(text)
    words = {leading[1].lower()} if leading else {word.lower() for word in YES_OR_NO.findall(text)}
    return words == {"yes"} if len(words) == 1 else None


def _read_score(reply: str) -> int | None:
    keyed = KEYED_SCORE.search(reply)
    numbers = {keyed[1]} if keyed else set(NUMBER.findall(OUT_OF_FIVE.sub(r"\1", reply)))
    return _as_score(numbers.pop()) if len(numbers) == 1 else None


def _as_score(number: str) -> int | None:
    value = float(number)
    return int(value) if value in range(6) else None
