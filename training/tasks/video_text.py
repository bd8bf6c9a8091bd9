"""Video-text contrast on whole clips: post-pretraining and retrieval (STAN, arXiv 2301.11116; Mug-STAN, 2311.15075).

Axes: N pairs of a batch, W words, T frames, E joint space.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoder.backbones.base import TextFeatures
from encoder.model import VideoFeatures
from training.data.batches import Batches
from training.data.held_out import HeldOut
from training.engine.distributed import gather, share
from training.engine.loop import StepOutput
from training.tasks.contrastive import contrastive_loss, recall_at_1
from training.tasks.pairwise import no_negatives, similarities
from training.trainee import Trainee


class VideoTextTask:
    """Symmetric contrastive loss of `similarity` / `temperature`, every clip of a batch against every text of it.

    The published loss is the sum of the two directions, this one their mean, half of that. What is right for a clip
    without being its own text counts for nothing: see no_negatives. Validation is on held-out clips with their first
    text each.
    """

    def __init__(
        self,
        trainee: Trainee,
        tokenize: Callable[..., Any],
        batches: Batches,
        held_out: HeldOut,
        groups: list[dict],
        *,
        max_words: int,
        similarity: str,
        temperature: float,
    ) -> None:
        self.trainee, self.tokenize, self.groups = trainee, tokenize, groups
        self.batches, self.held_out = batches, held_out
        self.module = nn.ModuleDict({"encoder": trainee.encoder})
        self.max_words, self.similarity, self.temperature = max_words, similarity, temperature

    def parameter_groups(self) -> list[dict]:
        return self.groups

    def loss(self, number: int) -> StepOutput:
        batch = self.batches.batch(number)
        total = len(batch.clips)
        frames = gather(self.trainee.learn_from(batch.frames, number), total)
        ids, mask = self._words(batch.texts)
        mine = share(total)
        text = self.trainee.read(ids[mine], mask[mine])
        text = TextFeatures(
            tokens=gather(text.tokens, total), sentence=gather(text.sentence, total), mask=mask.bool().to(frames.device)
        )
        equal = no_negatives(ids, batch.clips).to(frames.device)
        logits = self._similarities(text, frames) / self.temperature
        loss = contrastive_loss(logits.masked_fill(equal, -torch.inf))
        return StepOutput(loss, tokens=batch.frames.shape[0] * batch.frames.shape[1], samples=batch.names)

    def validate(self) -> dict[str, float]:
        """R@1 both ways among the held-out clips; nothing where there are less than two of them."""
        if len(self.held_out.clips) < 2:
            return {}
        with self.trainee.at_rest():
            clips, frames = self.held_out.watched(self.trainee.watch)
            if len(clips) < 2:
                return {}
            text = self.trainee.read(*self._words([clip.said[0] for clip in clips]))
            similarity = self._similarities(text, frames)
        return {"text_to_video_R@1": recall_at_1(similarity), "video_to_text_R@1": recall_at_1(similarity.T)}

    def _similarities(self, text: TextFeatures, frames: Tensor) -> Tensor:
        video = VideoFeatures(tokens=frames.new_empty(len(frames), 0), frames=frames, video=frames.mean(1))
        return similarities(self.trainee.encoder.similarity, text, video, self.similarity)

    def _words(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask (N, W) of texts, padded to the longest of them."""
        batch = self.tokenize(
            list(texts), padding=True, truncation=True, max_length=self.max_words, return_tensors="pt"
        )
        return batch["input_ids"], batch["attention_mask"]
