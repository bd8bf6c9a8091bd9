"""Ten questions about one video: what they cost together, and what they would cost one by one."""

import time
from dataclasses import dataclass
from pathlib import Path

from bridge import VideoLanguageModel
from bridge.likelihood import OptionScores
from training.evaluation.scorer import ModelScorer, Seen

QUESTIONS = (
    "What is happening in the video?", "Where does it take place?", "What is moving?", "What colour is the object?",
    "How many people are there?", "What happens first?", "What happens last?", "Which way does it move?",
    "What is in the background?", "What is the weather like?",
)  # fmt: skip
OPTIONS = ("A person walks to the left.", "A red box moves to the right.", "Nothing moves at all.", "A dog runs.")


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Seconds for all questions."""

    one_by_one: float
    together: float

    @property
    def factor(self) -> float:
        return self.one_by_one / self.together


def measure_saving(model: VideoLanguageModel, folder: Path, clip: Path) -> Saving:
    """Score the options of every question twice: with the video opened anew for each, and as an evaluation does.

    Raises AssertionError where the two do not choose alike: then they would not be the same work.
    """
    scorer = ModelScorer(model, folder)
    start = time.perf_counter()
    alone = [scorer.score(question, OPTIONS, _watch(scorer, clip)) for question in QUESTIONS]
    one_by_one = time.perf_counter() - start
    start = time.perf_counter()
    seen = _watch(scorer, clip)
    together = [scorer.score(question, OPTIONS, seen) for question in QUESTIONS]
    seconds = time.perf_counter() - start
    assert [_best(scores) for scores in alone] == [_best(scores) for scores in together]
    return Saving(one_by_one=one_by_one, together=seconds)


def _watch(scorer: ModelScorer, clip: Path) -> Seen:
    """What opening a video in a conversation does."""
    return scorer.watch(scorer.read(clip, None, None).pixels)


def _best(scores: OptionScores) -> int:
    return max(range(len(OPTIONS)), key=lambda i: scores.log_likelihood[i] / scores.tokens[i])
