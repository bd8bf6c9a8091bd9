"""SubRip subtitles (.srt): what is said in a video and when."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.benchmarks.files import read_text
from training.data.jsonl import DataError

TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
TIMES = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}")
MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
"""<font color="white"> and {\\an8}: how a player should draw the words."""


class Subtitle(NamedTuple):
    """Words on one line, shown from `start` to before `end` seconds."""

    start: float
    end: float
    text: str


def read_subtitles(path: Path) -> list[Subtitle]:
    r"""Subtitles in the order of the file, those without words left out. `\N` and line breaks become spaces.

    Raises DataError when a file with text in it has no times.
    """
    blocks: list[tuple[float, float, list[str]]] = []
    text = read_text(path)
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().split("\n")
        at = next((i for i, line in enumerate(lines) if TIMES.match(line)), None)
        if at is not None:
            times = TIMES.match(lines[at])
            blocks.append((_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:]), lines[at + 1 :]))
        elif blocks:  # an empty line inside of what is said
            blocks[-1][2].extend(lines)
    if text.strip() and not blocks:
        raise DataError(f"{path}:1: expected subtitles with times (00:00:01,000 --> 00:00:02,000), got {text[:80]!r}")
    spoken = [Subtitle(start=start, end=end, text=_words(lines)) for start, end, lines in blocks]
    return [subtitle for subtitle in spoken if subtitle.text]


def on_screen(lines: Iterable[tuple[float, float, str]], times: Sequence[float]) -> str:
    """The words of the lines (start, end, words) that are shown at one of the times, in their order, a line each.

    >>> on_screen([(0, 2, "Look,"), (2, 4, "a jar."), (7, 8, "Bye.")], [1.0, 2.0, 3.0])
    'Look,\\na jar.'
    """
    return "\n".join(words for start, end, words in lines if any(start <= time < end for time in times))


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _words(lines: list[str]) -> str:
    return " ".join(MARKUP.sub("", " ".join(lines)).replace(r"\N", " ").split())
