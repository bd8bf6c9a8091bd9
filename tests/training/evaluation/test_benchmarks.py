"""Every benchmark, from its owners' files to its score: a model that is right about known items gets a known score."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bridge.likelihood import OptionScores
from encoder.video import VideoFrames
from tests.training.evaluation.fakes import INFO
from training.data.benchmarks import mvbench, nextqa, recognition
from training.data.benchmarks.catalogue import CATALOGUE
from training.data.items import Item
from training.evaluation import retrieval
from training.evaluation.benchmarks import BENCHMARKS, Benchmark
from training.evaluation.run import RunConfig, run
from training.evaluation.scorer import Seen

MINIATURES = Path(__file__).parents[1] / "data" / "benchmarks"
FOLDERS = {
    "nextqa_mc": "nextqa/choice", "nextqa_oe": "nextqa/open", "video_mme_subtitles": "video_mme", "activitynet_qa": "vcg_qa/activitynet_qa",
    "msvd_qa": "vcg_qa/msvd_qa", "msrvtt_qa": "vcg_qa/msrvtt_qa",
    "tgif_frameqa": "vcg_qa/tgif_qa",
}  # fmt: skip
SHORTER = {
    "mvbench": partial(mvbench.read, tasks=[path.stem for path in sorted((MINIATURES / "mvbench" / "json").iterdir())]),
    "nextqa_mc": partial(nextqa.read, split="val"),
}
"""Readers of the parts that a miniature has."""
PUBLISHED = [
    replace(benchmark, read=SHORTER.get(benchmark.name, benchmark.read))
    for benchmark in BENCHMARKS
    if benchmark.name not in ("mcq", "open_qa", "describe", *recognition.READERS)
]


@dataclass
class Knowing:
    """Knows the answers to every second item of a list, and chooses the last option or says nothing on the others."""

    items: Sequence[Item]
    num_frames: int = 4
    shown: str = ""

    def knows(self, item: Item) -> bool:
        return [other.id for other in self.items].index(item.id) % 2 == 0

    def about_shown(self) -> list[Item]:
        return [item for item in self.items if self.shown.endswith(f"/{item.video}")]

    def fingerprint(self) -> str:
        return "knowing"

    def precision(self) -> str:
        return "pencil and paper"

    def read(self, path: Path, start: float | None, end: float | None) -> VideoFrames:
        self.shown = path.as_posix()
        return VideoFrames(pixels=torch.zeros(4, 3, 8, 8, dtype=torch.uint8), times=torch.arange(4).double(), info=INFO)

    def watch(self, pixels: Tensor, *, branch: bool) -> Seen:
        return Seen(torch.zeros(1, 1, 1))

    def score(self, question: str, options: Sequence[str], seen: Seen) -> OptionScores:
        if seen.tokens is None:
            return OptionScores(log_likelihood=[-1.0] * len(options), tokens=[1] * len(options))
        item = next(i for i in self.about_shown() if question.endswith(i.question) and i.candidates == tuple(options))
        wanted = item.answer if self.knows(item) else (item.answer + 1) % len(options)
        likely = [0.0 if i == wanted else -1.0 for i in range(len(options))]
        return OptionScores(log_likelihood=likely, tokens=[1] * len(options))

    def answer(self, question: str, seen: Seen, *, max_new_tokens: int) -> str:
        item = next(i for i in self.about_shown() if i.question.lower() in question.lower() and not i.candidates)
        return item.answers[0] if self.knows(item) else "nothing of the kind"


@pytest.fixture
def miniature(tmp_path: Path) -> Callable[[Benchmark], Path]:
    """A copy of a benchmark's miniature, with a file wherever a video should lie."""

    def copy(benchmark: Benchmark) -> Path:
        root = tmp_path / "data"
        shutil.copytree(MINIATURES / FOLDERS.get(benchmark.name, benchmark.name), root)
        for item in benchmark.read(root):
            (root / item.video).parent.mkdir(parents=True, exist_ok=True)
            (root / item.video).write_text("a video")
        return root

    return copy


def test_every_benchmark_is_listed() -> None:
    """A further split of the same files is an option of its benchmark, not one of its own."""
    kinds = {name: entry.kind for name, entry in CATALOGUE.items()}
    splits = {f"{name}_split{i}" for name, entry in CATALOGUE.items() for i in range(2, entry.splits + 1)}
    names = {benchmark.name for benchmark in BENCHMARKS}
    assert {name for name, kind in kinds.items() if kind == "retrieval"} == retrieval.READERS.keys()
    assert {name for name, kind in kinds.items() if kind == "recognition"} | splits == recognition.READERS.keys()
    assert {name for name, kind in kinds.items() if kind != "retrieval"} | splits == names


@pytest.mark.parametrize("benchmark", PUBLISHED, ids=lambda benchmark: benchmark.name)
def test_a_known_model_gets_a_known_score(
    benchmark: Benchmark, miniature: Callable[[Benchmark], Path], tmp_path: Path
) -> None:
    root = miniature(benchmark)
    items = list(benchmark.read(root))
    report = run(
        benchmark, RunConfig(data=root, output=tmp_path / "run", controls=("full",)), load=lambda name: Knowing(items)
    )
    full = report.summaries["full"]
    known = (len(items) + 1) // 2
    assert full["n"] == len(items)
    assert full["failed"] == 0
    assert full[report.headline[0]] == pytest.approx(known / len(items))
    for kind, groups in full.get("groups", {}).items():
        for name, group in groups["of"].items():
            of_group = [i for i, item in enumerate(items) if item.groups.get(kind) == name]
            assert group["n"] == len(of_group)
            assert group["value"] == pytest.approx(sum(i % 2 == 0 for i in of_group) / len(of_group))
