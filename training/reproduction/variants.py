"""What is compared: the mean of frames, STAN and Mug-STAN, each trained by a recipe of its own with several seeds."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from encoder.backbones.base import TextFeatures
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import load_encoder
from encoder.model import MugSTAN, VideoFeatures
from training.evaluation import chunked_similarity
from training.tasks.heads import WordStates

AT_ONCE = 16
"""Clips in a forward."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train, and the similarity that it trains for."""

    name: str
    recipe: str
    similarity: str
    use_branch: bool = True

    def folder(self, runs: Path, seed: int) -> Path:
        """Where the run of a seed lies."""
        return runs / f"{self.recipe}-{seed}"


FRAME_MEAN = Variant(name="frame mean", recipe="mini-frame-mean", similarity="plain", use_branch=False)
STAN = Variant(name="STAN", recipe="mini-stan", similarity="plain")
MUG_STAN = Variant(name="Mug-STAN", recipe="mini-mug-stan", similarity="mug_simple")
PARTIAL_PLAIN = Variant(name="plain loss", recipe="mini-partial-plain", similarity="plain")
PARTIAL_MUG = Variant(name="Mug loss", recipe="mini-partial-mug", similarity="mug_simple")
CLAIMS = (FRAME_MEAN, STAN, MUG_STAN)
MISALIGNED = (PARTIAL_PLAIN, PARTIAL_MUG)


@dataclass(frozen=True)
class Trained:
    """An encoder that was trained as a variant says. Axes as in encoder.model."""

    variant: Variant
    encoder: MugSTAN
    words: WordStates

    @classmethod
    def load(cls, variant: Variant, folder: Path) -> "Trained":
        """`folder` is a run of `training align`. Raises FileNotFoundError where it is not finished."""
        if not (folder / "encoder").is_dir():
            raise FileNotFoundError(f"expected a finished run in {folder}, found none. Start with the claim 'train'.")
        encoder = load_encoder(folder / "encoder")
        return cls(variant, encoder, WordStates(encoder, text_tokenizer()))

    @torch.inference_mode()
    def watch(self, states: Tensor) -> VideoFeatures:
        """Cached tower states (d, B, T, 1 + L, D) -> frames and video of all of them; the tokens are left out."""
        parts = [
            self.encoder.encode_states(some.float(), branch=self.variant.use_branch)
            for some in states.split(AT_ONCE, dim=1)
        ]
        return VideoFeatures(
            tokens=states.new_empty(states.shape[1], 0), frames=torch.cat([part.frames for part in parts]),
            video=torch.cat([part.video for part in parts]),
        )  # fmt: skip

    @torch.inference_mode()
    def read(self, captions: list[str]) -> TextFeatures:
        """Features of captions, padded to the longest one."""
        return self.words(captions)

    @torch.inference_mode()
    def similarity(self, text: TextFeatures, video: VideoFeatures, mode: str) -> Tensor:
        """(A, B), a piece at a time: Mug holds a number for each word and frame of each pair."""
        return chunked_similarity.similarity(self.encoder.similarity, text, video, mode)
