"""A chat model as the benchmarks see it: it watches a video and says how likely it finds an answer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from bridge import VideoLanguageModel, load_chat_model
from bridge.generate import OptionScores, option_log_likelihoods
from bridge.presets import model_folder
from encoder.checkpoints import CheckpointError
from encoder.video import read_frames

EXPLANATIONS = {".md", ".png"}
"""Files of a checkpoint that say something about it and do not make it another model."""


class ModelError(ValueError):
    """A model cannot be loaded; the message says why."""


class ModelScorer:
    """Watches and scores with a loaded chat model, through the same code as the chat."""

    def __init__(self, model: VideoLanguageModel, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.num_frames = model.num_frames

    @classmethod
    def load(cls, name: str) -> "ModelScorer":
        """Load a chat model by name or folder. Raises ModelError."""
        try:
            return cls(load_chat_model(name), model_folder(name))
        except (KeyError, FileNotFoundError, CheckpointError) as error:
            raise ModelError(str(error.args[0]) if isinstance(error, KeyError) else str(error)) from error

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

    def watch(self, path: Path) -> Tensor:
        """Video tokens (1, M, llm_dim) of a video or picture. Raises VideoError."""
        return self.model.encode(read_frames(path, self.num_frames).pixels)

    def score(self, question: str, options: Sequence[str], video: Tensor | None) -> OptionScores:
        """Log-likelihood sums of the options as the answer to the question, beside the video or without one."""
        return option_log_likelihoods(self.model, question, options, video)
