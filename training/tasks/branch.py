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

from encoder.model import MugSTAN, VideoFeatures, tube_mask
from encoder.mug import plain_similarity
from encoder.stan import CrossFrameModule, STANBranch
from training.data.camera import MOVES
from training.data.contrasts import Contrast, Contrasts, Medium, stacked
from training.engine.distributed import gather, share
from training.engine.loop import StepOutput
from training.tasks.contrastive import contrastive_loss, recall_at_1
from training.tasks.heads import Temperature, WordStates

PICTURES_A_CLIP = 8
"""A batch of pictures is this many times larger than one of clips: a picture is one frame, and more negatives teach more."""
HELD_OUT_GROUPS = 32
AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class BranchSettings:
    """How batches are drawn and what is trained how fast."""

    kinds: tuple[str, ...] = ("pictures", "scenes", "pictures", "camera", "clips")
    """Kinds of batches in their turn, see training.data.contrasts.Contrasts. Pictures teach the heads alone."""
    similarities: tuple[str, ...] = ("plain",)
    """The loss is the mean over these: "plain" for STAN, "mug_simple" or "mug" for Mug-STAN, or several."""
    use_branch: bool = True
    """False trains the heads alone, on the same batches: the mean of frames that know nothing of each other."""
    batch: int = 32
    """Clips in a batch."""
    lr: float = 4e-4
    heads_lr: float = 3e-4
    mask: float = 0.84
    """Share of the patches that the branch does not see in training, other ones in every batch (see tube_mask)."""
    camera_rows: int = 2
    """Neighbouring rows of patches that the branch sees of camera moves, 0 for all: scattered patches do not show them."""
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
        heads = [*self.heads.parameters(), *self.temperatures.parameters()]
        groups = [{"params": heads, "lr": s.heads_lr, "weight_decay": 0.05}]
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
        batch = self.train.kinds[kind](rng, s.batch * PICTURES_A_CLIP if kind == "pictures" else s.batch)
        patches = self._patches(batch.states.shape[3] - 1, kind, torch.Generator().manual_seed(rng.getrandbits(62)))
        count = batch.states.shape[1]
        with self.autocast():
            states = batch.states[:, share(count)].float()
            with torch.set_grad_enabled(kind != "pictures"):  # they show nothing that changes in time
                fused = self.encoder.fuse(states, patches) if s.use_branch else states[-1]
            video = self.encoder.finish(fused, states)
        video = replace(video, frames=gather(video.frames, count), video=gather(video.video, count))
        loss = self._contrast(batch, video)
        return StepOutput(
            loss, tokens=count * batch.states.shape[2], metrics={f"loss_{kind}": loss.item()}, samples=batch.names
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

    def _contrast(self, batch: Contrast, video: VideoFeatures) -> Tensor:
        with self.autocast():
            text = self.words(list(batch.captions))
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


def wake(branch: STANBranch, generator: torch.Generator) -> None:
    """Give a fresh branch times to tell apart, eyes for what changes in time, and a voice; from there it learns.

    A fresh one hardly tells a clip from its reverse: time embeddings and the last projections of the cross-frame modules
    are zero. Here the times become sinusoids of unit mean square, of wavelengths from 4 to 256 frames, on channels in
    random order; what the cross-frame modules add is the difference between the latest and the earliest frames of a
    patch; and the branch's result joins the tower's with a weight of 1.
    """
    frames, width = branch.time_embedding.shape
    wavelengths = torch.logspace(math.log10(4), math.log10(256), width // 2)
    angles = 2 * math.pi * torch.arange(frames)[:, None] / wavelengths
    waves = math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)  # (T, D)
    times = waves[:, torch.randperm(width, generator=generator)]
    with torch.no_grad():
        branch.time_embedding.copy_(times)
        branch.output_fusion.scale.fill_(1.0)
        for module in branch.cross_frame:
            _look_at_both_ends(module, rising(times), generator)


def rising(times: Tensor) -> Tensor:
    """A direction (D,) in which the first sixteen times (T, D) rise by about one a frame: ridge regression."""
    first = times[:16] - times[:16].mean(0)
    frame = torch.arange(len(first), dtype=first.dtype)
    direction = first.T @ torch.linalg.solve(first @ first.T + 5.0 * torch.eye(len(first)), frame - frame.mean())
    return direction / (first @ direction).diff().mean()


def _look_at_both_ends(module: CrossFrameModule, rise: Tensor, generator: torch.Generator) -> None:
    """Half of the heads look at the latest frames, half at the earliest; what they see is subtracted."""
    attention, width = module.self_attn, len(rise)
    half = width // 2
    seen = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[:half]
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        projection.weight.zero_()
        projection.bias.zero_()
    first_channels = torch.arange(attention.heads) * (width // attention.heads)
    sign = torch.where(torch.arange(attention.heads) < attention.heads // 2, 1.0, -1.0)
    attention.q_proj.bias[first_channels] = 3.0 * math.sqrt(width / attention.heads) * sign  # logits rise by 3 a frame
    attention.k_proj.weight[first_channels] = rise
    attention.v_proj.weight.copy_(torch.cat([seen, seen]))
    attention.out_proj.weight.copy_(torch.cat([seen, -seen]).T)
    nn.init.eye_(module.temporal_fc.weight)
