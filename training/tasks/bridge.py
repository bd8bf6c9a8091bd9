"""Stage 1: projector and LoRA learn captions (later questions too) from pooled features of the frozen encoder.

Two losses. The likelihood of a medium's own captions; and, since a small LLM lowers that loss most easily by learning
the habits of captions, a ranking loss: the same caption must be likelier with its own video than with another one.
"""

import random
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bridge.generate import additive_mask
from bridge.projectors import Projector
from bridge.prompt import render
from training.data.packs import Pack, PackedBatch, collate, make_pack
from training.data.pooled import PooledMedium
from training.data.questions import CAPTION_QUESTIONS, balanced, conversation, messages
from training.engine.loop import StepOutput


@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """How batches are drawn and losses weighed. Sizes in media, shares from 0 to 1."""

    system: str = "Answer questions about the video."
    """System prompt; it becomes part of the checkpoint."""
    num_frames: int = 8
    batch_size: int = 16
    clip_share: float = 0.25
    captions_per_medium: int = 2
    still_clip_share: float = 0.2
    """Share of pictures that are shown as a clip of equal frames."""
    blind_share: float = 0.1
    """Share of packs without the video: the LLM keeps a fair idea of captions as such."""
    qa_from: int = 1000
    """First step with questions; the task, which counts batches, is told the first batch."""
    qa_share: float = 0.5
    """Share of the media with questions that are asked some, in one conversation."""
    qa_turns: int = 3
    follow_up_share: float = 0.3
    """Share of the conversations that start with a caption."""
    keep_no: float = 0.65
    """Share of the answers "no" that are trained on: the data hold three for two "yes"."""
    ranking_weight: float = 1.0
    ranking_scale: float = 4.0
    projector_lr: float = 3e-4
    lora_lr: float = 5e-4
    seed: int = 0


class BridgeTask:
    """`llm` is a causal LM whose trainable parameters are its adapter's."""

    def __init__(
        self,
        projector: Projector,
        llm: nn.Module,
        tokenizer: Any,
        train: list[PooledMedium],
        val: list[PooledMedium],
        settings: BridgeSettings,
    ) -> None:
        self.projector, self.llm, self.tokenizer, self.settings = projector, llm, tokenizer, settings
        self.module = nn.ModuleDict({"projector": projector, "llm": llm})
        self.pictures = [m for m in train if not m.is_video and m.captions]
        self.clips = [m for m in train if m.is_video and m.captions]
        self.val = [m for m in val if m.is_video and m.captions][:48] or val[:48]

    def parameter_groups(self) -> list[dict]:
        adapter = [p for p in self.llm.parameters() if p.requires_grad]
        return [
            {"params": list(self.projector.parameters()), "lr": self.settings.projector_lr, "weight_decay": 0.01},
            {"params": adapter, "lr": self.settings.lora_lr, "weight_decay": 0.01},
        ]

    def loss(self, number: int) -> StepOutput:
        s = self.settings
        rng = random.Random(f"{s.seed}-bridge-{number}")
        media = self._draw(rng)
        asking = number >= s.qa_from
        packs, pooled, own, foreign, sighted = [], [], {}, {}, set()
        count = 0
        chosen = [rng.sample(m.captions, min(s.captions_per_medium, len(m.captions))) for m in media]
        for i, medium in enumerate(media):
            tokens = self._as_shown(rng, medium)
            blind = rng.random() < s.blind_share
            slots = 0 if blind else len(tokens)
            question = rng.choice(CAPTION_QUESTIONS)
            other = (i + 1) % len(media)
            talks = [[(question, c)] for c in [*chosen[i], chosen[other][0]]]
            own[i], foreign[other] = count, count + len(chosen[i])
            if asking and rng.random() < s.qa_share and (qa := balanced(rng, medium.qa, s.keep_no)[: s.qa_turns]):
                after = rng.choice(medium.captions) if rng.random() < s.follow_up_share else None
                talks.append(conversation(rng, qa, after))
            packs.append(self._pack(talks, slots))
            count += len(talks)
            if not blind:
                sighted.add(i)
                pooled.append(tokens)
        batch = collate(packs, self._pad)
        likelihood = self._log_likelihood(batch, pooled)
        lengths = torch.bincount(batch.branch, minlength=count)
        sums = torch.zeros(count).index_add(0, batch.branch, likelihood)
        wrong = torch.tensor(sorted(foreign.values()), dtype=torch.long)
        mine = torch.ones(count, dtype=torch.bool)
        mine[wrong] = False
        caption_loss = -sums[mine].sum() / lengths[mine].sum()
        pairs = [(own[j], foreign[j]) for j in foreign if j in sighted]
        mean = sums / lengths
        if pairs:
            a, b = torch.tensor(pairs).T
            gap = mean[a] - mean[b]
            ranking = F.softplus(-s.ranking_scale * gap).mean()
            metrics = {"loss_captions": caption_loss.item(), "loss_ranking": ranking.item(), "gap": gap.mean().item()}
        else:
            ranking, metrics = sums.new_zeros(()), {"loss_captions": caption_loss.item()}
        return StepOutput(
            caption_loss + s.ranking_weight * ranking, batch.input_ids.numel(), metrics,
            samples=tuple(m.name for m in media),
        )  # fmt: skip

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Caption choice on held-out media, as the evaluation scores it, with the right and with a wrong video.

        Up to four captions to choose from; without two held-out media there is nothing to choose, and no value.
        """
        if len(self.val) < 2:
            return {}
        self.llm.eval()
        rng = random.Random("validation")
        right = wrong = 0
        gaps = []
        for i, medium in enumerate(self.val):
            others = [m for m in self.val if m is not medium]
            options = [m.captions[0] for m in (medium, *rng.sample(others, min(3, len(others))))]
            talks = [[(CAPTION_QUESTIONS[2], c)] for c in options]
            shown, strange = medium.pooled, others[(i + 7) % len(others)].pooled
            batch = collate(
                [self._pack(talks, len(shown)), self._pack(talks, len(strange)), self._pack(talks, 0)], self._pad
            )
            likelihood = self._log_likelihood(batch, [shown, strange])
            sums = torch.zeros(batch.num_branches).index_add(0, batch.branch, likelihood)
            mean = (sums / torch.bincount(batch.branch)).view(3, len(options))
            right += int((mean[0] - mean[2]).argmax() == 0)
            wrong += int((mean[1] - mean[2]).argmax() == 0)
            gaps.append((mean[0] - mean[1])[0].item())
        self.llm.train()
        n = len(self.val)
        return {"mcq_right_video": right / n, "mcq_wrong_video": wrong / n, "gap": sum(gaps) / n}

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id

    def _draw(self, rng: random.Random) -> list[PooledMedium]:
        s = self.settings
        clips = (
            min(round(s.clip_share * s.batch_size), len(self.clips))
            if self.pictures
            else min(s.batch_size, len(self.clips))
        )
        media = rng.sample(self.clips, clips) + rng.sample(self.pictures, min(s.batch_size - clips, len(self.pictures)))
        rng.shuffle(media)
        return media

    def _as_shown(self, rng: random.Random, medium: PooledMedium) -> Tensor:
        if medium.is_video or rng.random() >= self.settings.still_clip_share:
            return medium.pooled
        return torch.cat([medium.pooled[:1].expand(self.settings.num_frames, -1), medium.pooled[1:]])

    def _pack(self, talks: list[list[tuple[str, str]]], slots: int) -> Pack:
        """Each talk, a list of questions and answers, becomes a branch."""
        return make_pack(
            [render(self.tokenizer, messages(talk), num_slots=slots, system=self.settings.system) for talk in talks]
        )

    def _log_likelihood(self, batch: PackedBatch, pooled: list[Tensor]) -> Tensor:
        """(N,) log-likelihood of each labelled token."""
        embeds = self.llm.get_input_embeddings()(batch.input_ids)
        if pooled:
            video = self.projector.project(torch.cat(pooled).float())
            embeds = embeds.masked_scatter(batch.is_video[..., None], video.to(embeds.dtype))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.llm.base_model.model.model(
                inputs_embeds=embeds, attention_mask=additive_mask(batch.mask, embeds.dtype),
                position_ids=batch.positions, use_cache=False,
            ).last_hidden_state  # fmt: skip
            logits = self.llm.get_output_embeddings()(hidden[batch.row, batch.source])
        return -F.cross_entropy(logits.float(), batch.target, reduction="none")
