"""A chat model as the benchmarks see it: it watches a video, says how likely it finds an answer, and answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bridge import VideoLanguageModel, load_chat_model
from bridge.generate import (
    Generation,
    KeyValues,
    Sampling,
    UnanswerableError,
    check_length,
)
from bridge.likelihood import OptionScores, option_log_likelihoods
from bridge.presets import model_folder
from encoder.video import VideoFrames, read_frames
from training.data.frame_folder import read_frame_folder

EXPLANATIONS = {".md", ".png", ".jpg"}
"""Files of a checkpoint that say something about it and do not make it another model."""


@dataclass
class Seen:
    """A watched video: tokens (1, M, llm_dim), None for no video, and what the LLM has read of it so far."""

    tokens: Tensor | None
    key_values: KeyValues = field(default_factory=KeyValues)


class Watcher(Protocol):
    """What every benchmark needs of a model: it watches."""

    num_frames: int

    def fingerprint(self) -> str:
        """SHA-256 of the trained parts."""

    def precision(self) -> str:
        """Device and dtypes, in words."""

    def read(self, path: Path, start: float | None, end: float | None) -> VideoFrames:
        """The frames that the model is shown of a video. Raises VideoError."""

    def watch(self, pixels: Tensor, *, branch: bool) -> Seen:
        """Frames uint8 (T, 3, H, W) as the model sees them."""


class Scorer(Watcher, Protocol):
    """What questions need of a model: it also reads and answers."""

    def score(self, question: str, options: Sequence[str], seen: Seen) -> OptionScores:
        """Sums of log-likelihoods and numbers of tokens of the options as answers to the question."""

    def answer(self, question: str, seen: Seen, *, max_new_tokens: int) -> str:
        """The greedy answer."""


class ModelScorer:
    """Watches, scores and answers with a loaded chat model, through the same code as the chat."""

    def __init__(self, model: VideoLanguageModel, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.num_frames = model.num_frames

    @classmethod
    def load(cls, name: str) -> "ModelScorer":
        """Load a chat model by name or folder. Raises bridge.ModelError."""
        return cls(load_chat_model(name), model_folder(name))

    def fingerprint(self) -> str:
        """SHA-256 over the names and bytes of the checkpoint: what a resumed run must have in common with the first."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.suffix not in EXPLANATIONS:
                digest.update(f"{path.relative_to(self.folder).as_posix()}|{path.stat().st_size}|".encode())
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        return digest.hexdigest()

    def precision(self) -> str:
        """Device and dtypes, in words."""
        weight = next(self.model.llm.parameters())
        return f"{weight.device}, language model {weight.dtype}, encoder {self.model.encoder_dtype}"

    def read(self, path: Path, start: float | None, end: float | None) -> VideoFrames:
        """Frames of a video, a picture, or a folder of frames. Raises VideoError."""
        if path.is_dir():
            return read_frame_folder(path, self.num_frames, start=start, end=end)
        return read_frames(path, self.num_frames, start=start, end=end)

    def watch(self, pixels: Tensor, *, branch: bool = True) -> Seen:
        """Frames uint8 (T, 3, H, W) -> what the LLM is shown. Raises UnanswerableError where that is not finite."""
        tokens = self.model.encode(pixels, branch=branch)
        if not torch.isfinite(tokens).all():
            raise UnanswerableError("the encoder's numbers for this video are not finite. Another dtype may help.")
        return Seen(tokens)

    def score(self, question: str, options: Sequence[str], seen: Seen) -> OptionScores:
        """Log-likelihood sums of the options; the video is not read again."""
        return option_log_likelihoods(self.model, question, options, seen.tokens, seen.key_values)

    def answer(self, question: str, seen: Seen, *, max_new_tokens: int) -> str:
        """The greedy answer to a question on its own, as the chat gives it. Raises UnanswerableError."""
        slots = 0 if seen.tokens is None else seen.tokens.shape[1]
        prompt = self.model.prompt([{"role": "user", "content": question}], num_slots=slots)
        check_length(self.model, prompt, max_new_tokens)
        seen.key_values.hold_video(self.model, prompt, seen.tokens)
        sampling = Sampling(temperature=0, max_new_tokens=max_new_tokens)
        generation = Generation(self.model, seen.key_values, prompt, seen.tokens, sampling=sampling)
        for _ in generation:
            pass
        return generation.text.strip()
