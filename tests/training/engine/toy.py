"""A task of milliseconds: a small network with dropout learns sums, from samples in another order in every epoch."""

import random

import torch
from torch import Tensor, nn

from training.engine.loop import StepOutput

SAMPLES = 40


class Regression:
    """Batches follow each other through the epochs, so twelve samples are one batch of twelve or three of four.

    `stop_at` is a batch at which the run is interrupted, `poison` says of batches what is not finite in them: "loss" or
    "gradient". `weights` are those that each batch found.
    """

    def __init__(
        self,
        *,
        batch_size: int = 4,
        dropout: float = 0.5,
        stop_at: int | None = None,
        poison: dict[int, str] | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self.inputs = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(1))
        self.batch_size, self.stop_at, self.poison = batch_size, stop_at, poison or {}
        self.weights: list[Tensor] = []

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.module.parameters()), "lr": 1e-2, "weight_decay": 0.1}]

    def drawn(self, batch: int) -> list[int]:
        """The samples of a batch."""
        places = [divmod(batch * self.batch_size + i, SAMPLES) for i in range(self.batch_size)]
        return [random.Random(epoch).sample(range(SAMPLES), SAMPLES)[place] for epoch, place in places]

    def loss(self, batch: int) -> StepOutput:
        if batch == self.stop_at:
            raise KeyboardInterrupt
        self.weights.append(self.module[0].weight.detach().clone())
        drawn = self.drawn(batch)
        x = self.inputs[drawn]
        loss = (self.module(x) - x.sum(1, keepdim=True)).square().mean()
        if self.poison.get(batch) == "loss":
            loss = loss * torch.inf
        if self.poison.get(batch) == "gradient":
            loss = loss + (0 * self.module[0].weight).sqrt().sum()
        return StepOutput(loss, tokens=len(x), metrics={"batch": batch}, samples=tuple(map(str, drawn)))

    def validate(self) -> dict[str, float]:
        return {"weight": self.module[0].weight.norm().item()}
