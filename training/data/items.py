"""What a benchmark asks: one question about one video, whatever file it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.data.jsonl import DataError

TimedLine = tuple[float, float, str]
"""Words on screen, and the seconds from and to which they are."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question. It is a choice where there are `candidates`, and an open question otherwise.

    id           unique within a benchmark; questions and answers of separate files are joined by it
    video        path of a video, a picture or a folder of frames, relative to the benchmark's root
    start, end   the part that is asked about in seconds, None for the whole
    candidates   the options in their order, without letters
    answer       index of the right candidate; None for an open question
    answers      every wording that counts as right, the first one as published; empty for a choice
    groups       names under which scores are also given, e.g. {"task": "action_count"}
    context      words that the model may read beside the video
    timed_context
                 more of them, such as subtitles: the seconds from and to which they are on screen, and the words. Who
                 shows the frames puts those into `context` that are on screen in them.
    """

    id: str
    video: str
    question: str
    candidates: tuple[str, ...] = ()
    answer: int | None = None
    answers: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    groups: dict[str, str] = field(default_factory=dict)
    context: str = ""
    timed_context: tuple[TimedLine, ...] = ()

    @property
    def cluster(self) -> str:
        """What items must share to count as dependent: intervals resample whole clusters."""
        return self.video

    def __post_init__(self) -> None:
        """Raises ValueError for an item that could not be scored."""
        if self.candidates and (self.answer is None or not 0 <= self.answer < len(self.candidates)):
            raise ValueError(f"'{self.id}': expected an index below {len(self.candidates)}, got {self.answer!r}.")
        if not self.candidates and self.answer is not None:
            raise ValueError(f"'{self.id}': expected candidates beside the index {self.answer}, got none.")


def unique(items: Sequence[Item], source: Path) -> list[Item]:
    """The items as they are. Raises DataError when there are none, or when an id comes twice."""
    if not items:
        raise DataError(f"{source}: expected at least one question, got none.")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"{source}: the id '{item.id}' comes twice.")
        seen.add(item.id)
    return list(items)
