"""Branch and heads learn from clips: to tell a clip's caption from those of others, and from the same one told otherwise.

Axes as in encoder.model.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from encoder.backbones.base import TextFeatures
from encoder.model import MugSTAN, VideoFeatures, tube_mask
from encoder.mug import plain_similarity
from training.data.camera import MOVES
from training.data.contrasts import Contrast, Contrasts, Medium, stacked
from training.engine.distributed import gather, share
from training.engine.loop import StepOutput
from training.tasks.contrastive import contrastive_loss, recall_at_1
from training.tasks.heads import Temperature, WordStates

HELD_OUT_GROUPS = 32
AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class BranchSettings:
    """How batches are drawn and what is trained how fast."""

    kinds: tuple[str, ...] = ("scenes", "pictures", "clips", "camera", "scenes", "pictures", "clips")
    """Kinds of batches in their turn, see training.data.contrasts.Contrasts."""
    similarities: tuple[str, ...] = ("plain",)
    """The loss is the mean over these: "plain" for STAN, "mug_simple" or "mug" for Mug-STAN, or several."""
    use_branch: bool = True
    """False trains the heads alone, on the same batches: the mean of frames that know nothing of each other."""
    batch: int = 48
    """Clips in a batch."""
    pictures: int = 512
    """Pictures in a batch: they keep the heads' knowledge, and the branch from hiding it."""
    dropout: float = 0.3
    """Of what the heads read of pictures and clips that are compared with all others, and of their captions."""
    lr: float = 5e-4
    """Of the branch and of the order of words, which start from nothing here."""
    heads_lr: float = 1e-4
    """Of the heads, which are trained already."""
    mask: float = 0.84
    """Share of the patches that the branch does not see in training, other ones in every batch (see tube_mask)."""
    camera_rows: int = 4
    """Neighbouring rows of patches that the branch sees of camera moves, 0 for all: scattered patches do not show them."""
    camera_frames: int = 4
    """The fewest frames that are seen of a camera move, the most are all: trained on one number of them, the branch would
    read a move right from as many only."""
    group_weight: float = 5.0
    """Weight of the contrast within groups: what tells their clips apart is faint at first beside what all clips show."""
    dtype: torch.dtype = torch.bfloat16
    """What autocast computes matrix products in."""
    seed: int = 0


class BranchTask:
    """Contrastive loss through branch and heads, within groups of variations and across the batch.

    Raises DataError where there are no media for any of the kinds.
    """

    def __init__(
        self,
        encoder: MugSTAN,
        words: WordStates,
        train: Sequence[Medium],
        val: Sequence[Medium],
        *,
        num_frames: int,
        settings: BranchSettings,
    ) -> None:
        self.encoder, self.words, self.settings = encoder, words, settings
        self.train, self.val = Contrasts(train, num_frames), Contrasts(val, num_frames)
        self.kinds = self.train.possible(settings.kinds)
        backbone = encoder.backbone
        self.temperatures = nn.ModuleDict({"across": Temperature(), "group": Temperature(50.0)})
        self.heads = nn.ModuleDict(
            {
                "vision": backbone.vision_head,
                "lower": backbone.vision_lower,
                "text": backbone.text_head,
                "order": backbone.text_order,
            }
        )
        self.module = nn.ModuleDict({"heads": self.heads, "temperatures": self.temperatures})
        if settings.use_branch:
            self.module["branch"] = encoder.branch
        self._train_branch_only()

    def parameter_groups(self) -> list[dict]:
        s = self.settings
        order = list(self.heads["order"].parameters())
        heads = [p for name, head in self.heads.items() if name != "order" for p in head.parameters()]
        groups = [
            {"params": [*heads, *self.temperatures.parameters()], "lr": s.heads_lr, "weight_decay": 0.05},
            {"params": order, "lr": s.lr, "weight_decay": 0.05},
        ]
        if s.use_branch:
            scale = list(self.encoder.branch.output_fusion.parameters())
            branch = [p for p in self.encoder.branch.parameters() if all(p is not other for other in scale)]
            groups += [
                {"params": branch, "lr": s.lr, "weight_decay": 0.05},
                {"params": scale, "lr": 10 * s.lr, "weight_decay": 0.0},
            ]
        return groups

    def loss(self, step: int) -> StepOutput:
        s = self.settings
        rng = random.Random(f"{s.seed}-branch-{step}")
        kind = self.kinds[step % len(self.kinds)]
        batch = self.train.kinds[kind](rng, s.pictures if kind == "pictures" else s.batch)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        patches = self._patches(batch.states.shape[3] - 1, kind, generator)
        count = batch.states.shape[1]
        mine = share(count)
        states = batch.states[:, mine]
        if kind == "camera":
            states = states[:, :, spread(rng.randint(s.camera_frames, states.shape[2]), states.shape[2])]
        states = states.float()
        dropout = s.dropout if batch.group == 1 else 0.0  # what differs within a group is faint enough
        kept_frames, kept_words = (
            dropout_mask(count, width, dropout, generator)
            for width in (self.encoder.backbone.moments_width, self.words.width)
        )
        with self.autocast():
            video = self._look(states, patches, kept_frames[mine])
            text = self.words(list(batch.captions), kept_words)
        video = replace(video, frames=gather(video.frames, count), video=gather(video.video, count))
        loss = self._contrast(batch, text, video)
        return StepOutput(
            loss, tokens=count * states.shape[2], metrics={f"loss_{kind}": loss.item()}, samples=batch.names
        )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """R@1 on held-out clips and pictures, how well order and camera move are told, and the branch's addition."""
        self.encoder.eval()
        values = {"scale": self.encoder.branch.output_fusion.scale.abs().mean().item()}
        for name, media, frames in (("clip", self.val.videos, self.val.num_frames), ("picture", self.val.stills, 1)):
            if media:
                similarity = self._similarity([m.captions[0] for m in media], self._encode(stacked(media, frames)))
                values |= {f"{name}_R@1_{mode}": recall_at_1(s) for mode, s in similarity.items()}
        for kind, size in (("scenes", 2), ("camera", len(MOVES))):
            if kind in self.val.kinds and kind in self.kinds:
                values |= self._told(kind, size)
        self._train_branch_only()
        return values

    def _fuse(self, states: Tensor, patches: Tensor | None) -> Tensor:
        return self.encoder.fuse(states, patches) if self.settings.use_branch else states[-1]

    def _look(self, states: Tensor, patches: Tensor | None, kept: Tensor) -> VideoFeatures:
        """Features of clips (d, B, T, 1 + L, D), the moments of whose frames are multiplied by `kept` (B, n) before the head."""
        backbone = self.encoder.backbone
        lower = backbone.moments(states[-backbone.head_levels : -1])  # apart from the last one: it takes no gradient
        moments = torch.cat([lower, backbone.moments(self._fuse(states, patches)[None])], dim=-1)
        frames = backbone.read_frames(moments * kept[:, None])
        return VideoFeatures(tokens=frames.new_empty(len(frames), 0), frames=frames, video=frames.mean(1))

    def _contrast(self, batch: Contrast, text: TextFeatures, video: VideoFeatures) -> Tensor:
        parts = []
        for mode in self.settings.similarities:
            similarity = self.encoder.similarity(text, video, mode)
            if batch.across:
                parts.append(contrast_across(self.temperatures["across"](similarity), batch.group))
            if batch.group > 1:
                within = group_loss(similarity, batch.group, self.temperatures["group"])
                parts.append(self.settings.group_weight * within)
        return torch.stack(parts).sum() / len(self.settings.similarities)

    def autocast(self) -> torch.autocast:
        """What a forward in training runs under."""
        dtype = self.settings.dtype
        return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)

    def _patches(self, num_patches: int, kind: str, generator: torch.Generator) -> Tensor | None:
        if kind == "camera":
            return row_band(num_patches, self.settings.camera_rows, generator) if self.settings.camera_rows else None
        return tube_mask(num_patches, self.settings.mask, generator) if self.settings.mask else None

    def _encode(self, states: Tensor) -> VideoFeatures:
        parts = [
            self.encoder.encode_states(some.float(), branch=self.settings.use_branch)
            for some in states.split(AT_ONCE, dim=1)
        ]
        names = ("tokens", "frames", "video")
        return VideoFeatures(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _similarity(self, captions: list[str], video: VideoFeatures) -> dict[str, Tensor]:
        text = self.words(captions)
        return {mode: self.encoder.similarity(text, video, mode) for mode in self.settings.similarities}

    def _told(self, kind: str, size: int) -> dict[str, float]:
        """How often the right caption of a held-out group is the most similar one, by the plain cosine.

        And the mean cosine of a group's clips: near 1, the branch has not told them apart, whatever the captions say.
        """
        batch = self.val.kinds[kind](random.Random(kind), HELD_OUT_GROUPS * size)
        video = self._encode(batch.states)
        blocks = diagonal_blocks(self.encoder.similarity(self.words(list(batch.captions)), video, "plain"), size)
        alike = diagonal_blocks(plain_similarity(video.video, video.video), size)
        pairs = ~torch.eye(size, dtype=torch.bool)
        return {
            kind: (blocks.argmax(1) == torch.arange(size)).float().mean().item(),
            f"{kind}_cosine": alike[:, pairs].mean().item(),
        }

    def _train_branch_only(self) -> None:
        """The frozen towers stay in evaluation mode: their own dropout would blur what is learned from."""
        self.encoder.eval()
        self.encoder.branch.train()


def dropout_mask(count: int, width: int, share: float, generator: torch.Generator) -> Tensor:
    """(count, width): 0 for a `share` of all entries, and what keeps the mean at 1 for the others."""
    return torch.bernoulli(torch.full((count, width), 1 - share), generator=generator) / (1 - share)


def spread(count: int, num_frames: int) -> Tensor:
    """(count,) numbers of frames at an even distance, the first and the last among them."""
    return torch.linspace(0, num_frames - 1, count).round().long()


def row_band(num_patches: int, rows: int, generator: torch.Generator) -> Tensor:
    """(K,) indices of the patches of so many neighbouring rows of a square grid, which ones is drawn.

    Raises ValueError for more rows than there are.
    """
    side = math.isqrt(num_patches)
    if rows > side:
        raise ValueError(f"expected camera_rows of at most the {side} rows of the grid, got {rows}.")
    first = int(torch.randint(side - rows + 1, (), generator=generator))
    return torch.arange(first * side, (first + rows) * side)


def group_loss(similarity: Tensor, group: int, temperature: Temperature) -> Tensor:
    """Contrast of the interactions within groups, and of the similarities themselves as far as the first one succeeds.

    As long as clips do not show what the captions of a group differ in, the surest way to a lower contrast of the
    similarities is to forget that difference: it counts with a weight of 0 at chance and 1 where all are told apart.
    """
    told = contrast_within(temperature(interactions(similarity, group)), group)
    known = (1 - told.detach() / math.log(group)).clamp(min=0)
    return told + known * contrast_within(temperature(similarity), group)


def contrast_across(similarity: Tensor, group: int) -> Tensor:
    """Mean of both directions' cross-entropy against the other groups: its own group is left to `group_loss`.

    As negatives like all others they would have clips and captions forget what they differ in.
    """
    own = torch.block_diag(*torch.ones(len(similarity) // group, group, group, dtype=torch.bool))
    own.fill_diagonal_(False)
    return contrastive_loss(similarity.masked_fill(own.to(similarity.device), torch.finfo(similarity.dtype).min))


def contrast_within(similarity: Tensor, group: int) -> Tensor:
    """Mean of both directions' cross-entropy within each group of neighbours; (A, B) with A = B, a multiple of `group`."""
    blocks = diagonal_blocks(similarity, group)
    target = torch.arange(group, device=similarity.device).expand(len(blocks), -1)
    return (F.cross_entropy(blocks, target) + F.cross_entropy(blocks.transpose(1, 2), target)) / 2


def interactions(similarity: Tensor, group: int) -> Tensor:
    """The same matrix with the blocks of each group freed from the mean of every row and column.

    A caption that is nearer to all clips of its group gains nothing by it here.
    """
    blocks = diagonal_blocks(similarity, group)
    centred = blocks - blocks.mean(1, keepdim=True) - blocks.mean(2, keepdim=True) + blocks.mean((1, 2), keepdim=True)
    return torch.block_diag(*centred)


def diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    """(n*g, n*g) -> (n, g, g): the blocks on the diagonal."""
    blocks = rearrange(matrix, "(n g) (m h) -> n m g h", g=size, h=size)
    return blocks[torch.arange(len(blocks)), torch.arange(len(blocks))]
