"""A stand-in for a chat model, for what surrounds it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bridge.likelihood import OptionScores
from encoder.video import VideoError, VideoFrames, VideoInfo
from training.evaluation.benchmarks import benchmark_by_name
from training.evaluation.report import Report
from training.evaluation.run import RunConfig, run
from training.evaluation.scorer import Seen


@dataclass
class FakeScorer:
    """Finds the first letter of a video's name likely in an option that begins with it. Counts what it is asked."""

    num_frames: int = 8
    weights: str = "w1"
    broken: set[str] = field(default_factory=set)
    watched: list[str] = field(default_factory=list)
    encoded: list[tuple[list[int], bool]] = field(default_factory=list)
    scored: list[tuple[str, bool]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    die_after: int | None = None

    def fingerprint(self) -> str:
        return self.weights

    def precision(self) -> str:
        return "pencil and paper"

    def read(self, path: Path, start: float | None, end: float | None) -> VideoFrames:
        self.watched.append(path.name)
        if path.name in self.broken:
            raise VideoError("this file is not a video.")
        pixels = torch.full((4, 3, 8, 8), ord(path.name[0]), dtype=torch.uint8)
        pixels[:, :, 0, 0] = torch.arange(4)[:, None]
        return VideoFrames(pixels=pixels, times=torch.arange(4).double(), info=INFO)

    def watch(self, pixels: Tensor, *, branch: bool) -> Seen:
        self.encoded.append((pixels[:, 0, 0, 0].tolist(), branch))
        return Seen(pixels[:1, :1, 1, 1].float()[..., None])

    def score(self, question: str, options: Sequence[str], seen: Seen) -> OptionScores:
        video = seen.tokens
        if self.die_after is not None and len(self.scored) >= self.die_after:
            raise KeyboardInterrupt
        self.scored.append((question, video is not None))
        tokens = [len(option) for option in options]
        hits = [video is not None and ord(option[0]) == int(video.item()) for option in options]
        sums = [(-1.0 if hit else -2.0) * n for hit, n in zip(hits, tokens, strict=True)]
        return OptionScores(log_likelihood=sums, tokens=tokens)

    def answer(self, question: str, seen: Seen, *, max_new_tokens: int) -> str:
        if self.die_after is not None and len(self.answered) >= self.die_after:
            raise KeyboardInterrupt
        self.answered.append(question)
        return "" if seen.tokens is None else WORDS[chr(int(seen.tokens.item()))]


INFO = VideoInfo(
    duration=4, fps=1, width=8, height=8, rotation=0, codec="h264", num_frames=4, is_image=False, container="mov"
)
WORDS = {"a": "An apple pie.", "b": "the bread", "c": "cheese"}


ROWS = [
    {
        "id": f"{name}{i}",
        "video": f"{name}.mp4",
        "question": f"What is shown, part {i}?",
        "candidates": ["apple pie", "bread", "cake"],
        "answer": answer,
    }
    for answer, name in enumerate("abc")
    for i in range(2)
]
"""Three videos with two questions each; a FakeScorer that sees them is right about all."""


def examine(data: Path, scorer: FakeScorer, *, name: str = "mcq", output: str = "run", **settings: object) -> Report:
    config = RunConfig(data=data, output=data.parent / output, **settings)
    return run(benchmark_by_name(name), config, load=lambda model: scorer)


def rows_of(data: Path) -> list[dict]:
    return [json.loads(line) for line in (data.parent / "run/answers.jsonl").read_text().splitlines()]
