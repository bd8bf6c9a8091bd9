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
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from bridge.checkpoint import read_config
from bridge.presets import CHAT_MODELS, model_folder
from bridge.runtime import find_runtime, use_threads
from encoder.backbones.base import TextFeatures
from encoder.backbones.mini import MiniBackbone
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import CONFIG_FILE, load_encoder, read_encoder_config
from encoder.model import MugSTAN, VideoFeatures
from encoder.mug import MODES
from encoder.presets import ENCODERS, create_encoder
from encoder.provenance import git_commit, versions
from encoder.video import VideoError, read_frames
from training.data.retrieval import CaptionedVideo, read_retrieval
from training.evaluation.answers import INFORMATIVE, ResumeError, replace
from training.evaluation.chunked_similarity import similarity
from training.evaluation.retrieval_metrics import DirectionSummary, dual_softmax, ranks, summarise_ranks
from training.evaluation.run import RECORDED

log = logging.getLogger(__name__)

Value = TypeVar("Value")
NUM_FRAMES = 8
"""Where only an encoder is given, whose folder does not say: what ours are trained with."""
MAX_WORDS = 64
"""Word pieces that are read of a caption, as in training."""
CAPTIONS_AT_ONCE = 64


class EncoderError(ValueError):
    """An encoder cannot be loaded, or cannot compare captions with videos; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    data: Path
    """JSONL of videos and captions; video paths are relative to it."""
    model: str = "mini"
    """Name of a chat model or of an encoder, or the folder of a checkpoint of either."""
    output: Path
    """Folder of run.json, ranks.jsonl and summary.json."""
    mode: str | None = None
    """Similarity: one of encoder.mug.MODES, None for the one that the checkpoint names as its retrieval_mode."""
    dual_softmax: bool = False
    """Weigh similarities by softmax over all queries. Another protocol: never compare it with results without."""
    seed: int = 0
    """Of the confidence intervals."""

    def __post_init__(self) -> None:
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


@dataclass(kw_only=True)
class Retriever:
    """An encoder with all it needs to look and to read."""

    encoder: MugSTAN
    tokenize: Callable[..., Any]
    """A transformers tokenizer."""
    num_frames: int
    retrieval_mode: str
    dtype: torch.dtype = torch.float32
    """Of the matrix products on frames; captions are read in fp32, as in training."""

    def fingerprint(self) -> str:
        """SHA-256 over the names and numbers of all weights of the encoder."""
        digest = hashlib.sha256()
        for name, weights in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name}|{weights.dtype}|{tuple(weights.shape)}|".encode())
            digest.update(weights.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def precision(self) -> str:
        """Device and dtype, in words."""
        return f"{next(self.encoder.parameters()).device}, encoder {self.dtype}"

    @torch.inference_mode()
    def watch(self, path: Path) -> Tensor:
        """Frame features fp32 (T, E) of a video; those of a picture stand T times. Raises VideoError."""
        pixels = read_frames(path, self.num_frames).pixels
        parameter = next(self.encoder.backbone.parameters())
        video = self.encoder.backbone.transform(pixels.to(parameter.device))[None].to(parameter.dtype)
        with torch.autocast(parameter.device.type, self.dtype, enabled=self.dtype != parameter.dtype):
            frames = self.encoder.encode_video(video).frames[0]
        if not torch.isfinite(frames).all():
            raise VideoError(f"The encoder's features of this video are not finite (computed in {self.dtype}).")
        return frames.float().cpu().expand(self.num_frames, -1)

    @torch.inference_mode()
    def read(self, captions: list[str]) -> TextFeatures:
        """fp32 features of captions, on the CPU. Raises EncoderError where they are not finite."""
        if long := sum(len(ids) > MAX_WORDS for ids in self.tokenize(captions)["input_ids"]):
            log.warning("%d of %d captions are cut after %d word pieces", long, len(captions), MAX_WORDS)
        device = next(self.encoder.backbone.parameters()).device
        batch = self.tokenize(captions, padding=True, truncation=True, max_length=MAX_WORDS, return_tensors="pt")
        parts = []
        for first in tqdm(range(0, len(captions), CAPTIONS_AT_ONCE), desc="captions", unit="batch", dynamic_ncols=True):
            some = slice(first, first + CAPTIONS_AT_ONCE)
            ids, mask = batch["input_ids"][some].to(device), batch["attention_mask"][some].to(device)
            parts.append(self.encoder.encode_text(ids, mask))
        text = TextFeatures(
            tokens=torch.cat([part.tokens.float().cpu() for part in parts]),
            sentence=torch.cat([part.sentence.float().cpu() for part in parts]),
            mask=torch.cat([part.mask.cpu() for part in parts]),
        )
        finite = torch.isfinite(text.sentence).all(-1) & torch.isfinite(text.tokens).all(-1).all(-1)
        if not finite.all():
            broken = captions[int((~finite).nonzero()[0])]
            raise EncoderError(
                f"the encoder's features of {int((~finite).sum())} captions are not finite: '{broken:.80}'."
            )
        return text

    @torch.inference_mode()
    def similarity(self, captions: list[str], frames: list[Tensor], mode: str) -> np.ndarray:
        """Captions and videos as frames (T, E) -> similarities fp32 (A, B).

        Captions of the same words and videos of the same features are compared once: rounding differs with the place
        in a matrix, and what is equal must tie.
        """
        texts, text_of = _distinct(captions, captions)
        different, video_of = _distinct([video.numpy().tobytes() for video in frames], frames)
        stacked = torch.stack(different)
        video = VideoFeatures(tokens=stacked.new_empty(len(stacked), 0), frames=stacked, video=stacked.mean(1))
        device = next(self.encoder.backbone.parameters()).device
        with tqdm(total=len(texts) * len(stacked), desc="similarity", unit="pair", dynamic_ncols=True) as bar:
            scores = similarity(
                self.encoder.similarity, self.read(texts), video, mode, device=device, on_progress=bar.update
            )
        return scores.numpy()[np.ix_(text_of, video_of)]


def load_retriever(name: str) -> Retriever:
    """The encoder of a chat model, or an encoder alone, by name or folder. Sets torch's number of threads.

    A name that both have is the chat model's, whose encoder is trained. Raises EncoderError.
    """
    try:
        encoder, retrieval_mode, num_frames = _load(name)
        tokenize = caption_tokenizer(encoder)
    except EncoderError:
        raise
    except KeyError as error:
        raise EncoderError(str(error.args[0])) from error
    except (ValueError, OSError, SafetensorError) as error:  # does not fit, is missing, is cut off
        raise EncoderError(f"cannot load the model '{name}': {error}") from error
    runtime = find_runtime()
    use_threads(runtime)
    return Retriever(
        encoder=encoder.to(runtime.device), tokenize=tokenize, num_frames=num_frames, retrieval_mode=retrieval_mode,
        dtype=runtime.encoder_dtype,
    )  # fmt: skip


def _load(name: str) -> tuple[MugSTAN, str, int]:
    """Encoder, retrieval mode and number of frames."""
    if name in ENCODERS and name not in CHAT_MODELS:
        return create_encoder(name), "plain", NUM_FRAMES
    folder = model_folder(name)
    file = folder / CONFIG_FILE
    if file.exists() and _names_llm(file):
        config = read_config(folder)
        encoder = load_encoder(folder) if "encoder" in config.parts else create_encoder(config.encoder.preset)
        return encoder, config.encoder.retrieval_mode, config.num_frames
    return load_encoder(folder), read_encoder_config(file).retrieval_mode, NUM_FRAMES


def _names_llm(file: Path) -> bool:
    """Whether a config.json is that of a chat model."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    return isinstance(whole, dict) and "llm" in whole


def caption_tokenizer(encoder: MugSTAN) -> Callable[..., Any]:
    """The tokenizer of an encoder's text tower. Raises EncoderError where none is at hand, as for CLIP."""
    if isinstance(encoder.backbone, MiniBackbone):
        return text_tokenizer()
    raise EncoderError(
        f"captions cannot be read: there is no tokenizer for the text tower of a {type(encoder.backbone).__name__}, "
        "only for encoders of the kind of 'mini'. Choose another --model."
    )


def run(config: RetrievalConfig, *, load: Callable[[str], Retriever] = load_retriever) -> RetrievalSummary:
    """Rank every video for every caption and every caption for every video; write run.json, ranks.jsonl, summary.json.

    A video that cannot be read is never compared. It fails, and counts: its captions get rank B + 1 and itself rank
    A + 1, of all B videos and A captions in the file, and both are misses at every K even where K is larger. Beside it,
    the other captions choose among the videos that could be read, and the other videos among all captions.
    The same run in the same folder is computed anew. Raises DataError for unusable data, EncoderError for an unusable
    model and ResumeError where the folder holds another run; nothing is written then.
    """
    videos = read_retrieval(config.data)
    retriever = load(config.model)
    mode = config.mode or retriever.retrieval_mode
    settings = manifest(config, videos, retriever, mode)
    check_folder(config.output, settings)
    frames: dict[int, Tensor] = {}
    reasons: dict[int, str] = {}
    for index, video in enumerate(tqdm(videos, desc="retrieval", unit="video", dynamic_ncols=True)):
        path = config.data.parent / video.video
        try:
            frames[index] = retriever.watch(path)
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
    _write(config.output, settings | _notes(retriever), _rows(videos, by_text, by_video, reasons), summary)
    return summary


def manifest(
    config: RetrievalConfig, videos: Sequence[CaptionedVideo], retriever: Retriever, mode: str
) -> dict[str, Any]:
    """What a run is made of, for run.json: a run in the same folder must agree in all but names and places."""
    said = json.dumps([[video.video, *video.captions] for video in videos])
    return {
        "benchmark": "retrieval", "data": str(config.data.resolve()),
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


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise ResumeError where the folder holds results of anything but the same run: they would be lost."""
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


def _distinct(keys: Sequence[Hashable], values: Sequence[Value]) -> tuple[list[Value], list[int]]:
    """One value of each different key, in the order of their first places; and which of them stands at each place."""
    different = dict(zip(keys, values, strict=True))
    number = {key: i for i, key in enumerate(different)}
    return list(different.values()), [number[key] for key in keys]


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


def _write(folder: Path, run_json: dict[str, Any], rows: list[dict[str, Any]], summary: RetrievalSummary) -> None:
    """The old summary goes first: at no moment does one stand beside the ranks of another start."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").unlink(missing_ok=True)
    replace(folder / "run.json", json.dumps(run_json, indent=2) + "\n")
    replace(folder / "ranks.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    replace(folder / "summary.json", json.dumps(summary.row(), indent=2) + "\n")


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
