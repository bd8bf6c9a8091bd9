"""The projector's first lesson, without the LLM: video tokens that point at the words of the caption.

Every video token lies among the LLM's word embeddings, so its product with them says which words it stands for. All
tokens of a medium together (log-sum-exp, as in multiple-instance learning) must explain the caption's words against the
other words of the training captions. The LLM then reads tokens it half knows already. Minutes instead of hours.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bridge.projectors import Projector
from training.data.pooled import PooledMedium
from training.engine.loop import StepOutput


class WordsTask:
    """Softmax cross-entropy of a caption's words under the tokens' scores plus the words' log-frequency."""

    def __init__(
        self,
        projector: Projector,
        embeddings: Tensor,
        tokenize: "Tokenize",
        train: list[PooledMedium],
        val: list[PooledMedium],
        *,
        batch_size: int,
        lr: float,
        seed: int,
    ) -> None:
        self.projector, self.tokenize = projector, tokenize
        counts = Counter(w for m in train for c in m.captions for w in set(tokenize(c)))
        kept = sorted(w for w, n in counts.items() if n >= 2)
        self.column = {w: i for i, w in enumerate(kept)}
        frequency = torch.tensor([counts[w] for w in kept], dtype=torch.float32)
        self.log_frequency = (frequency / frequency.sum()).log()
        self.weight = 1 / frequency.sqrt()  # rare words tell more than "a" and "in"
        self.words = F.normalize(embeddings[kept].float() - embeddings.float().mean(0), dim=-1)
        self.scale = nn.Parameter(torch.tensor(10.0).log())
        self.module = nn.ModuleDict({"projector": projector, "scale": nn.ParameterList([self.scale])})
        self.groups = [[m for m in train if m.is_video == kind] for kind in (False, True)]
        self.val = [m for m in val if m.is_video] or val
        self.batch_size, self.lr, self.seed = batch_size, lr, seed

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.module.parameters()), "lr": self.lr, "weight_decay": 0.05}]

    def loss(self, step: int) -> StepOutput:
        rng = random.Random(f"{self.seed}-words-{step}")
        group = self.groups[1] if self.groups[1] and step % 5 == 4 else self.groups[0] or self.groups[1]
        media = rng.sample(group, min(self.batch_size, len(group)))
        pooled = torch.stack([m.pooled for m in media]).float()
        pooled = F.dropout(pooled, 0.1)
        value = self._loss(pooled, self._targets([rng.choice(m.captions) for m in media]))
        return StepOutput(value, tokens=len(media), samples=tuple(m.name for m in media))

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on held-out media, and what it gains, in nats, over knowing the words' frequencies alone."""
        if not self.val:
            return {}
        pooled = torch.stack([m.pooled for m in self.val]).float()
        targets = self._targets([m.captions[0] for m in self.val])
        loss = self._loss(pooled, targets).item()
        by_frequency = -(targets * self.log_frequency).sum(1).mean().item()
        return {"words_loss": loss, "words_gain": by_frequency - loss}

    def _scores(self, pooled: Tensor) -> Tensor:
        """(B, M, F) -> (B, W) evidence for each word, before its frequency."""
        direction = F.normalize(self.projector.project(pooled) - self.projector.center, dim=-1)
        return torch.logsumexp(self.scale.exp() * (direction @ self.words.T), dim=1)

    def _loss(self, pooled: Tensor, targets: Tensor) -> Tensor:
        return -(targets * F.log_softmax(self._scores(pooled) + self.log_frequency, dim=-1)).sum(1).mean()

    def _targets(self, captions: list[str]) -> Tensor:
        """(B, W) weights of the words of each caption, summing to one."""
        targets = torch.zeros(len(captions), len(self.column))
        for row, caption in enumerate(captions):
            for word in set(self.tokenize(caption)) & self.column.keys():
                targets[row, self.column[word]] = self.weight[self.column[word]]
        return targets / targets.sum(1, keepdim=True).clamp(min=1e-9)


class Tokenize:
    """A caption's token ids as they stand inside a sentence, with the space before each word."""

    def __init__(self, tokenizer: Callable[..., Any]) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self.tokenizer(" " + text[:1].lower() + text[1:].rstrip("."), add_special_tokens=False).input_ids
