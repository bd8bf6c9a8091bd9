"""Alignment: make tower and text tower one image-language model, then teach the branch to add to it.

Two losses on the same heads. `HeadsTask` trains the two heads alone on single frames, with batches as large as a
contrastive loss likes them. `BranchTask` trains branch and heads on whole clips: real ones, and pseudo-clips made of two
pictures, whose caption tells them in order and whose strongest negative is the same pair in the other order.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoder.backbones.base import TextFeatures
from encoder.model import MugSTAN, tube_mask
from training.data.features import FeatureCache
from training.data.jsonl import DataError
from training.engine.distributed import gather, share
from training.engine.loop import StepOutput
from training.tasks.contrastive import contrastive_loss, recall_at_1

MIN_FRAMES = 4
"""A pseudo-clip shows each of its two pictures for two frames or more."""
Batch = tuple[Tensor, list[str], tuple[str, ...]]
"""Tower states (d, B, T, 1 + L, D), a caption of each, and the names of the media they are made of."""


@dataclass(frozen=True)
class Medium:
    """A cached medium and its captions. `name` is what people call it: the path of the medium itself."""

    file: Path
    captions: tuple[str, ...]
    is_video: bool
    name: str = ""


class Temperature(nn.Module):
    """A learned multiplier of similarities, as CLIP's logit scale."""

    def __init__(self, initial: float = 20.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(initial).log())

    def forward(self, similarity: Tensor) -> Tensor:
        return similarity * self.log_scale.exp().clamp(max=100.0)


class HeadsTask:
    """Contrastive loss of single frames and sentences through the two heads; everything under them is precomputed."""

    def __init__(
        self,
        encoder: MugSTAN,
        train: "FrameTable",
        val: "FrameTable",
        *,
        batch_size: int,
        lr: float,
        dropout: float,
        seed: int,
    ) -> None:
        self.vision_head, self.text_head = encoder.backbone.vision_head, encoder.backbone.text_head
        self.temperature = Temperature()
        self.module = nn.ModuleDict(
            {"vision": self.vision_head, "text": self.text_head, "temperature": self.temperature}
        )
        self.train, self.val = train, val
        self.batch_size, self.lr, self.dropout, self.seed = batch_size, lr, dropout, seed

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.module.parameters()), "lr": self.lr, "weight_decay": 0.1}]

    def loss(self, step: int) -> StepOutput:
        rng = random.Random(f"{self.seed}-heads-{step}")
        frames, sentences, names = self.train.draw(rng, self.batch_size)
        frames, sentences = (nn.functional.dropout(x, self.dropout) for x in (frames, sentences))
        mine = share(len(frames))
        vision = gather(self.vision_head(frames[mine]), len(frames))
        text = gather(self.text_head(sentences[mine]), len(frames))
        similarity = _cosine(text, vision)
        return StepOutput(contrastive_loss(self.temperature(similarity)), tokens=len(frames), samples=names)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        if not len(self.val):
            return {}
        frames, sentences = self.val.first()
        similarity = _cosine(self.text_head(sentences), self.vision_head(frames))
        return {"text_to_image_R@1": recall_at_1(similarity), "image_to_text_R@1": recall_at_1(similarity.T)}


class FrameTable:
    """Frames (F, 2D) and sentence states (C, D) of many media, drawn by medium, and the media's names."""

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


class BranchTask:
    """Contrastive loss of clips and captions through branch and heads, plain and Mug similarity in equal parts.

    `mask` is the share of the patches that the branch does not see, other ones in every batch (see tube_mask). Raises DataError where there are neither two pictures nor two clips to tell apart.
    """

    def __init__(
        self,
        encoder: MugSTAN,
        words: "WordStates",
        train: list[Medium],
        val: list[Medium],
        *,
        batch_size: int,
        num_frames: int,
        lr: float,
        mask: float,
        seed: int,
    ) -> None:
        self.encoder, self.words = encoder, words
        self.temperature = Temperature()
        self.module = nn.ModuleDict({
            "branch": encoder.branch, "vision": encoder.backbone.vision_head, "text": encoder.backbone.text_head,
            "temperature": self.temperature,
        })  # fmt: skip
        self.pictures = [m for m in train if not m.is_video]
        self.clips = [m for m in train if m.is_video]
        self.val = [m for m in val if m.is_video]
        draws = {"pictures": self._pictures, "clips": self._clips, "pseudo_clips": self._pseudo_clips}
        enough = {
            "pictures": len(self.pictures) > 1,
            "clips": len(self.clips) > 1,
            "pseudo_clips": len(self.pictures) > 1,
        }
        self.kinds = [(name, draw) for name, draw in draws.items() if enough[name]]
        if not self.kinds:
            raise DataError(
                "expected two pictures or two clips with captions in the train split, got "
                f"{len(self.pictures)} and {len(self.clips)}."
            )
        self.batch_size, self.num_frames, self.lr, self.mask, self.seed = batch_size, num_frames, lr, mask, seed
        self._train_branch_only()

    def parameter_groups(self) -> list[dict]:
        scale = list(self.encoder.branch.output_fusion.parameters())
        branch = [p for p in self.encoder.branch.parameters() if all(p is not s for s in scale)]
        heads = [*self.module["vision"].parameters(), *self.module["text"].parameters(), *self.temperature.parameters()]
        return [
            {"params": branch, "lr": self.lr, "weight_decay": 0.05},
            {"params": scale, "lr": 20 * self.lr, "weight_decay": 0.0},
            {"params": heads, "lr": self.lr, "weight_decay": 0.05},
        ]

    def loss(self, step: int) -> StepOutput:
        rng = random.Random(f"{self.seed}-branch-{step}")
        kind, draw = self.kinds[step % len(self.kinds)]
        states, captions, names = draw(rng)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        patches = tube_mask(states.shape[3] - 1, self.mask, generator) if self.mask else None
        with torch.autocast("cpu", torch.bfloat16):
            video = self.encoder.encode_states(states[:, share(states.shape[1])], patches=patches)
        whole = {name: gather(getattr(video, name), states.shape[1]) for name in ("frames", "video")}
        video = replace(video, **whole)
        text = self.words(captions)
        plain = self.encoder.similarity(text, video, "plain")
        mug = self.encoder.similarity(text, video, "mug_simple")
        loss = (contrastive_loss(self.temperature(plain)) + contrastive_loss(self.temperature(mug))) / 2
        return StepOutput(
            loss,
            tokens=states.shape[1] * states.shape[2],
            metrics={f"loss_{kind}": loss.item()},
            samples=names,
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """R@1 on held-out real clips, how often the order of a pair is told, and the size of the branch's addition."""
        self.encoder.eval()
        values = {"scale": self.encoder.branch.output_fusion.scale.abs().mean().item()}
        if self.val:
            video = self.encoder.encode_states(self._states(self.val))
            text = self.words([m.captions[0] for m in self.val])
            for mode, name in (("plain", "clip_R@1_plain"), ("mug_simple", "clip_R@1_mug")):
                values[name] = recall_at_1(self.encoder.similarity(text, video, mode))
        if len(self.pictures) > 1:
            pairs, captions, _ = self._pseudo_clips(random.Random("order"), size=64)
            similarity = self.encoder.similarity(self.words(captions), self.encoder.encode_states(pairs), "plain")
            other = similarity[torch.arange(64), torch.arange(64) ^ 1]
            values["order"] = (similarity.diagonal() > other).float().mean().item()
        self._train_branch_only()
        return values

    def _train_branch_only(self) -> None:
        """The frozen towers stay in evaluation mode: their own dropout would blur what is learned from."""
        self.encoder.eval()
        self.encoder.branch.train()

    def _pictures(self, rng: random.Random) -> Batch:
        return self._load(rng, rng.sample(self.pictures, min(4 * self.batch_size, len(self.pictures))))

    def _clips(self, rng: random.Random) -> Batch:
        return self._load(rng, rng.sample(self.clips, min(self.batch_size, len(self.clips))))

    def _load(self, rng: random.Random, media: list[Medium]) -> Batch:
        captions = [rng.choice(m.captions) for m in media]
        return self._states(media), captions, tuple(m.name for m in media)

    def _states(self, media: list[Medium]) -> Tensor:
        """(d, B, T, 1 + L, D) of pictures, T = 1, or of clips; a still among the clips is shown in every frame."""
        frames = self.num_frames if media[0].is_video else 1
        return torch.stack([FeatureCache.load(m.file).expand(-1, frames, -1, -1) for m in media], dim=1).float()

    def _pseudo_clips(self, rng: random.Random, size: int | None = None) -> Batch:
        """Clips 2i and 2i + 1 show the same two pictures in both orders; the cut falls anywhere."""
        clips, captions, names = [], [], []
        for _ in range((size or self.batch_size) // 2):
            first, second = rng.sample(self.pictures, 2)
            cut = rng.randrange(2, self.num_frames - 1)
            a, b = FeatureCache.load(first.file), FeatureCache.load(second.file)
            told_a, told_b = rng.choice(first.captions), rng.choice(second.captions)
            clips += [self._joined(a, b, cut), self._joined(b, a, self.num_frames - cut)]
            captions += [f"First: {told_a} Then: {told_b}", f"First: {told_b} Then: {told_a}"]
            names += [first.name, second.name]
        return torch.stack(clips, dim=1).float(), captions, tuple(names)

    def _joined(self, a: Tensor, b: Tensor, cut: int) -> Tensor:
        return torch.cat([a.expand(-1, cut, -1, -1), b.expand(-1, self.num_frames - cut, -1, -1)], dim=1)


class WordStates:
    """Captions -> TextFeatures: the frozen text tower, then the trained head."""

    def __init__(self, encoder: MugSTAN, tokenize: Callable[..., Any]) -> None:
        self.encoder, self.tokenize = encoder, tokenize

    def __call__(self, captions: list[str]) -> TextFeatures:
        hidden, mask = self._tower(captions)
        return self.encoder.backbone.finish_text(hidden, mask)

    def sentence_states(self, captions: list[str]) -> Tensor:
        """(captions, D): the mean over each sentence's words, before the head."""
        hidden, mask = self._tower(captions)
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    @torch.no_grad()
    def _tower(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        batch = self.tokenize(captions, padding=True, truncation=True, max_length=64, return_tensors="pt")
        return self.encoder.backbone.text(**batch).last_hidden_state, batch["attention_mask"]


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return nn.functional.normalize(a, dim=-1) @ nn.functional.normalize(b, dim=-1).T
