"""Text-video retrieval: which video belongs to a caption, and which caption to a video?

Only the encoder is asked. Every video and every different caption is encoded once; a similarity ranks them both ways.
Axes: A texts, B videos, T frames, E joint space.
"""

import hashlib
import json
import logging
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from encoder.mug import MODES
from encoder.provenance import git_commit, versions
from encoder.video import VideoError
from training.data.datasets import didemo, lsmdc, msrvtt
from training.data.datasets.clips import missing_media
from training.data.retrieval import CaptionedVideo, read_retrieval
from training.engine.files import ResumeError, write_text
from training.evaluation.answers import INFORMATIVE
from training.evaluation.feature_store import FeatureStore
from training.evaluation.retrieval_metrics import DirectionSummary, dual_softmax, ranks, summarise_ranks
from training.evaluation.retriever import Retriever, load_retriever
from training.evaluation.run import RECORDED

log = logging.getLogger(__name__)

READERS: dict[str, Callable[[Path], list[CaptionedVideo]]] = {
    "retrieval": read_retrieval, "msrvtt": msrvtt.read, "didemo": didemo.read, "lsmdc": lsmdc.read,
}  # fmt: skip
"""Who reads the videos and captions of a benchmark: the split that results are published on, for those that have one."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    benchmark: str = "retrieval"
    """One of READERS."""
    data: Path
    """What the benchmark's reader takes, a file or a folder; video paths are relative to it, or to its folder."""
    model: str = "mini"
    """Name of a chat model or of an encoder, or the folder of a checkpoint of either."""
    output: Path
    """Folder of run.json, ranks.jsonl, summary.json and the features of the videos."""
    mode: str | None = None
    """Similarity: one of encoder.mug.MODES, None for the one that the checkpoint names as its retrieval_mode."""
    dual_softmax: bool = False
    """Weigh similarities by softmax over all queries. Another protocol: never compare it with results without."""
    seed: int = 0
    """Of the confidence intervals."""

    def __post_init__(self) -> None:
        if self.benchmark not in READERS:
            raise ValueError(f"benchmark must be one of {', '.join(READERS)}, got '{self.benchmark}'.")
        if self.mode not in (None, *MODES):
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got '{self.mode}'.")


@dataclass(frozen=True, kw_only=True)
class RetrievalSummary:
    """`n` and `failed` count videos: a video that cannot be read is one failed item, however many captions it has."""

    text_to_video: DirectionSummary
    video_to_text: DirectionSummary
    n: int
    failed: int
    mode: str
    dual_softmax: bool

    def row(self) -> dict[str, Any]:
        """The object in summary.json."""
        directions = {"text_to_video": self.text_to_video.row(), "video_to_text": self.video_to_text.row()}
        return {**vars(self), **directions}


def run(config: RetrievalConfig, *, load: Callable[[str], Retriever] = load_retriever) -> RetrievalSummary:
    """Rank every video for every caption and every caption for every video; write run.json, ranks.jsonl, summary.json.

    A video that cannot be read is never compared. It fails, and counts: its captions get rank B + 1 and itself rank
    A + 1, of all B videos and A captions in the file, and both are misses at every K even where K is larger. Beside it,
    the other captions choose among the videos that could be read, and the other videos among all captions.
    The features of every video are kept in the folder as soon as they are computed: the same run goes on from there, to
    the very numbers of one that was never stopped, and tries failed videos again. Raises DataError for unusable data,
    EncoderError for an unusable model, and ResumeError where the folder holds another run, which stays as it is.
    """
    root = config.data if config.data.is_dir() else config.data.parent
    videos = READERS[config.benchmark](config.data)
    missing_media(root, videos)
    retriever = load(config.model)
    mode = config.mode or retriever.retrieval_mode
    settings = manifest(config, videos, retriever, mode)
    claim_folder(config.output, settings, _notes(retriever))
    store = FeatureStore(
        config.output / "features",
        made_by=f"{settings['model_sha256']}|{retriever.num_frames}|{retriever.precision()}",
    )  # fmt: skip
    frames: dict[int, Tensor] = {}
    reasons: dict[int, str] = {}
    for index, video in enumerate(tqdm(videos, desc=config.benchmark, unit="video", dynamic_ncols=True)):
        path = root / video.video
        try:
            frames[index] = store.get(path, video.end, partial(retriever.watch, path, end=video.end))
        except VideoError as error:
            log.warning("%s cannot be shown, it and its %d captions fail: %s", path, len(video.captions), error)
            reasons[index] = str(error)
    by_text, by_video = _both_ranks(retriever, videos, frames, mode, dual=config.dual_softmax)

    owners = _owners(videos)
    names = [video.video for video in videos]
    summary = RetrievalSummary(
        text_to_video=summarise_ranks(
            by_text, [names[i] for i in owners], seed=config.seed, answered=np.array([i in frames for i in owners])
        ),
        video_to_text=summarise_ranks(
            by_video, names, seed=config.seed, answered=np.array([i in frames for i in range(len(videos))])
        ),
        n=len(videos), failed=len(reasons), mode=mode, dual_softmax=config.dual_softmax,
    )  # fmt: skip
    _write(config.output, _rows(videos, by_text, by_video, reasons), summary)
    return summary


def manifest(
    config: RetrievalConfig, videos: Sequence[CaptionedVideo], retriever: Retriever, mode: str
) -> dict[str, Any]:
    """What a run is made of, for run.json: a run in the same folder must agree in all but names and places."""
    said = json.dumps([[v.video, *v.captions, *([] if v.end is None else [v.end])] for v in videos])
    return {
        "benchmark": config.benchmark, "data": str(config.data.resolve()),
        "data_sha256": hashlib.sha256(said.encode()).hexdigest(), "model": config.model,
        "model_sha256": retriever.fingerprint(), "mode": mode, "dual_softmax": config.dual_softmax,
        "num_frames": retriever.num_frames, "seed": config.seed,
    }  # fmt: skip


def _notes(retriever: Retriever) -> dict[str, Any]:
    """What run.json also says: how and where it was computed."""
    return {
        "command": sys.argv[1:], "git_commit": git_commit(), "precision": retriever.precision(),
        "python": platform.python_version(), "machine": platform.machine(), "versions": versions(RECORDED),
    }  # fmt: skip


def claim_folder(folder: Path, settings: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """Write run.json. Raises ResumeError where the folder holds anything of another run: it would be lost or mixed up."""
    _check_folder(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "run.json", json.dumps({**settings, **notes}, indent=2) + "\n")


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "run.json"
    if not path.exists():
        if found := [name for name in ("answers.jsonl", "summary.json") if (folder / name).exists()]:
            raise ResumeError(f"{folder} has {found[0]} but no run.json that says of what. Choose another --output.")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    different = [
        f"{key} was {before.get(key)!r}, is {value!r}"
        for key, value in settings.items()
        if key not in INFORMATIVE and before.get(key) != value
    ]
    if different:
        raise ResumeError(f"{folder} holds another run: {'; '.join(different)}. Choose another --output.")


def _both_ranks(
    retriever: Retriever, videos: Sequence[CaptionedVideo], frames: dict[int, Tensor], mode: str, *, dual: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all captions (A,) and of all videos (B,); `frames` holds the videos that could be read."""
    owners = _owners(videos)
    by_text = np.full(len(owners), len(videos) + 1.0)
    by_video = np.full(len(videos), len(owners) + 1.0)
    if not frames:
        return by_text, by_video
    column = {index: place for place, index in enumerate(frames)}
    captions = [caption for video in videos for caption in video.captions]
    scores = retriever.similarity(captions, list(frames.values()), mode)
    answered = [row for row, index in enumerate(owners) if index in frames]
    right: dict[int, list[int]] = defaultdict(list)
    for row in answered:
        right[owners[row]].append(row)
    forward, backward = (dual_softmax(scores), dual_softmax(scores.T)) if dual else (scores, scores.T)
    by_text[answered] = ranks(forward[answered], [[column[owners[row]]] for row in answered])
    by_video[list(frames)] = ranks(backward, [right[index] for index in frames])
    return by_text, by_video


def _owners(videos: Sequence[CaptionedVideo]) -> list[int]:
    """The number of the video that each caption belongs to."""
    return [index for index, video in enumerate(videos) for _ in video.captions]


def _rows(
    videos: Sequence[CaptionedVideo], by_text: np.ndarray, by_video: np.ndarray, reasons: dict[int, str]
) -> list[dict[str, Any]]:
    """A row for every query, captions first, in the order of the data."""
    ends = [
        {"status": "ok"} if i not in reasons else {"status": "failed", "reason": reasons[i]} for i in range(len(videos))
    ]
    queries = [(index, caption) for index, video in enumerate(videos) for caption in video.captions]
    rows: list[dict[str, Any]] = [
        {"direction": "text_to_video", "video": videos[i].video, "caption": caption, "rank": float(rank), **ends[i]}
        for (i, caption), rank in zip(queries, by_text, strict=True)
    ]
    return rows + [
        {"direction": "video_to_text", "video": video.video, "rank": float(rank), **end}
        for video, rank, end in zip(videos, by_video, ends, strict=True)
    ]


def _write(folder: Path, rows: list[dict[str, Any]], summary: RetrievalSummary) -> None:
    """The old summary goes first: at no moment does one stand beside the ranks of another start."""
    (folder / "summary.json").unlink(missing_ok=True)
    write_text(folder / "ranks.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(folder / "summary.json", json.dumps(summary.row(), indent=2) + "\n")


def table(summary: RetrievalSummary) -> str:
    """Both directions, a line each, under a line that names similarity and protocol."""
    what = summary.mode + (" + dual softmax" if summary.dual_softmax else "")
    lines = [
        f"{what:<20} {'R@1':>6}   {'95 % interval':<16} {'R@5':>6} {'R@10':>6} {'MdR':>7} {'MnR':>7} {'n':>5} {'failed':>6}"
    ]
    for name, found in (("text_to_video", summary.text_to_video), ("video_to_text", summary.video_to_text)):
        low, high = found.ci95
        one, five, ten = found.recall.values()
        lines.append(
            f"{name:<20} {one:>6.3f}   {f'{low:.3f} to {high:.3f}':<16} {five:>6.3f} {ten:>6.3f} "
            f"{found.median_rank:>7.1f} {found.mean_rank:>7.1f} {summary.n:>5} {summary.failed:>6}"
        )
    return "\n".join(lines)
