"""A chat model as the benchmarks see it: it watches a video and says how likely it finds an answer."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bridge import VideoLanguageModel, load_chat_model
from bridge.generate import OptionScores, option_log_likelihoods
from encoder.video import read_frames


class ModelScorer:
    """Watches and scores with a loaded chat model, through the same code as the chat."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self.model = model
        self.num_frames = model.num_frames

    @classmethod
    def load(cls, name: str, progress: Callable[[str, float], None] | None = None) -> "ModelScorer":
        """Load a chat model by name or folder."""
        return cls(load_chat_model(name, progress=progress))

    def fingerprint(self) -> str:
        """A hash of all weights, their names and types: what a resumed run must have in common with the first."""
        digest = hashlib.blake2b(digest_size=32)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def watch(self, path: Path) -> Tensor:
        """Video tokens (1, M, llm_dim) of a video or picture. Raises VideoError."""
        return self.model.encode(read_frames(path, self.num_frames).pixels)

    def score(self, question: str, options: Sequence[str], video: Tensor | None) -> OptionScores:
        """Log-likelihood sums of the options as the answer to the question, beside the video or without one."""
        return option_log_likelihoods(self.model, question, list(options), video)
