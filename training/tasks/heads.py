"""The two alignment heads on single frames and sentences; everything under them is precomputed."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoder.backbones.base import TextFeatures
from encoder.model import MugSTAN
from training.engine.distributed import gather, share
from training.engine.loop import StepOutput
from training.tasks.contrastive import contrastive_loss, recall_at_1


class Temperature(nn.Module):
    """A learned multiplier of similarities, as CLIP's logit scale."""

    def __init__(self, initial: float = 20.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(initial).log())

    def forward(self, similarity: Tensor) -> Tensor:
        return similarity * self.log_scale.exp().clamp(max=100.0)


class HeadsTask:
    """Contrastive loss with batches as large as such a loss likes them."""

    def __init__(
        self,
        encoder: MugSTAN,
        train: "FrameTable",
        val: "FrameTable",
        *,
        batch_size: int,
        lr: float,
        dropout: float,
        noise: float,
        seed: int,
    ) -> None:
        self.backbone = encoder.backbone
        self.temperature = Temperature()
        self.module = nn.ModuleDict(
            {
                "vision": self.backbone.vision_head,
                "lower": self.backbone.vision_lower,
                "text": self.backbone.text_head,
                "temperature": self.temperature,
            }
        )
        self.train, self.val = train, val
        self.batch_size, self.lr, self.dropout, self.noise, self.seed = batch_size, lr, dropout, noise, seed

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.module.parameters()), "lr": self.lr, "weight_decay": 0.1}]

    def loss(self, step: int) -> StepOutput:
        rng = random.Random(f"{self.seed}-heads-{step}")
        frames, sentences, names = self.train.draw(rng, self.batch_size)
        frames, sentences = (self._blurred(x) for x in (frames, sentences))
        mine = share(len(frames))
        vision = gather(self.backbone.read_frames(frames[mine]), len(frames))
        text = gather(self.backbone.text_head(sentences[mine]), len(frames))
        similarity = _cosine(text, vision)
        return StepOutput(contrastive_loss(self.temperature(similarity)), tokens=len(frames), samples=names)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        if not len(self.val):
            return {}
        frames, sentences = self.val.first()
        similarity = _cosine(self.backbone.text_head(sentences), self.backbone.read_frames(frames))
        return {"text_to_image_R@1": recall_at_1(similarity), "image_to_text_R@1": recall_at_1(similarity.T)}

    def _blurred(self, x: Tensor) -> Tensor:
        """(B, n) with noise on every channel, in proportion to how much it varies, and with dropout."""
        return nn.functional.dropout(x + self.noise * x.std(0) * torch.randn_like(x), self.dropout)


class FrameTable:
    """Moments of frames (F, n*2D) and sentence states (C, D) of many media, drawn by medium, and the media's names."""

    def __init__(self, frames: Sequence[Tensor], sentences: Sequence[Tensor], names: Sequence[str]) -> None:
        self.frames, self.sentences, self.names = list(frames), list(sentences), list(names)

    def __len__(self) -> int:
        return len(self.frames)

    def draw(self, rng: random.Random, size: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """A random frame and a random caption of `size` different media, and their names."""
        chosen = rng.sample(range(len(self)), min(size, len(self)))
        frames = torch.stack([self.frames[i][rng.randrange(len(self.frames[i]))] for i in chosen])
        sentences = torch.stack([self.sentences[i][rng.randrange(len(self.sentences[i]))] for i in chosen])
        return frames.float(), sentences.float(), tuple(self.names[i] for i in chosen)

    def first(self) -> tuple[Tensor, Tensor]:
        """The middle frame and the first caption of every medium."""
        frames = torch.stack([f[len(f) // 2] for f in self.frames])
        return frames.float(), torch.stack([s[0] for s in self.sentences]).float()


class WordStates:
    """Captions -> TextFeatures: the frozen text tower, then the trained head."""

    def __init__(self, encoder: MugSTAN, tokenize: Callable[..., Any]) -> None:
        self.encoder, self.tokenize = encoder, tokenize
        self.known: Mapping[str, Tensor] = {}
        """Captions whose states (W, D) need not be computed again."""

    @property
    def width(self) -> int:
        """Channels of a word's state."""
        return self.encoder.backbone.text.config.hidden_size

    def __call__(self, captions: list[str], kept: Tensor | None = None) -> TextFeatures:
        """`kept` (captions, D) multiplies the states of all words of a caption: dropout that pooling does not undo."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.known]
        found = dict(zip(new, self.states(new), strict=True)) if new else {}
        states = [found[caption] if caption in found else self.known[caption] for caption in captions]
        hidden, mask = padded(states)
        return self.encoder.backbone.finish_text(hidden if kept is None else hidden * kept[:, None], mask)

    @torch.no_grad()
    def states(self, captions: list[str]) -> list[Tensor]:
        """The tower's states of every caption's words, (W, D) each."""
        batch = self._words(captions)
        hidden = self.encoder.backbone.text(**batch).last_hidden_state
        return [states[: real.sum()] for states, real in zip(hidden, batch["attention_mask"], strict=True)]

    def count(self, captions: Iterable[str]) -> int:
        """Words of all captions, as the tower reads them."""
        return int(self._words(list(captions))["attention_mask"].sum())

    def _words(self, captions: list[str]) -> Any:
        return self.tokenize(captions, padding=True, truncation=True, max_length=64, return_tensors="pt")


def padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States (W, D) of captions of any length -> fp32 (captions, W, D) with zeros at the end, and a mask of what is real."""
    lengths = torch.tensor([len(state) for state in states])
    hidden = nn.utils.rnn.pad_sequence([state.float() for state in states], batch_first=True)
    return hidden, (torch.arange(hidden.shape[1]) < lengths[:, None]).long()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return nn.functional.normalize(a, dim=-1) @ nn.functional.normalize(b, dim=-1).T
