"""Recognition: which of its classes does a clip show? Axes: B clips, n of them here, C classes, T frames, E joint space."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.class_head import ClassHead
from training.data.batches import Batches
from training.data.held_out import HeldOut
from training.engine.distributed import share, world_size
from training.engine.loop import StepOutput
from training.evaluation.recognition import TOP
from training.evaluation.retrieval_metrics import ranks, recall_at
from training.trainee import Trainee


class RecognitionTask:
    """Cross-entropy of the head's scores / `temperature`; the text of an example is the name of its class."""

    def __init__(
        self,
        trainee: Trainee,
        head: ClassHead,
        batches: Batches,
        held_out: HeldOut,
        groups: list[dict],
        *,
        temperature: float,
    ) -> None:
        self.trainee, self.head, self.groups = trainee, head, groups
        self.batches, self.held_out = batches, held_out
        self.module = nn.ModuleDict({"encoder": trainee.encoder, "head": head})
        self.place = {name: index for index, name in enumerate(head.classes)}
        self.temperature = temperature

    def parameter_groups(self) -> list[dict]:
        return self.groups

    def loss(self, number: int) -> StepOutput:
        batch = self.batches.batch(number)
        total = len(batch.texts)
        scores = self.head(self.trainee.learn_from(batch.frames, number).mean(1))  # (n, C)
        labels = self._labels(batch.texts[share(total)]).to(scores.device)
        loss = F.cross_entropy(scores / self.temperature, labels, reduction="sum")
        return StepOutput(
            loss * world_size() / total,  # of all processes, which may have one row more or less: the mean of the batch
            tokens=batch.frames.shape[0] * batch.frames.shape[1], samples=batch.names,
        )  # fmt: skip

    def validate(self) -> dict[str, float]:
        """Share of the held-out clips whose class is the best, and among the best five; nothing without such clips."""
        if not self.held_out.clips:
            return {}
        with self.trainee.at_rest():
            clips, frames = self.held_out.watched(self.trainee.watch)
            if not clips:
                return {}
            scores = self.head(frames.mean(1)).cpu()  # (B, C)
        labels = self._labels([clip.said[0] for clip in clips])
        found = ranks(scores.numpy(), [[label] for label in labels.tolist()])
        return {"top1": recall_at(1, found), "top5": recall_at(TOP, found)}

    def _labels(self, names: Sequence[str]) -> Tensor:
        """Indices of classes by their names."""
        return torch.tensor([self.place[name] for name in names])
