"""`python -m training align`: features once into the cache, then the two heads, then the branch."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.runtime import DTYPES
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import save_encoder
from encoder.model import MugSTAN
from encoder.mug import MODES
from encoder.presets import create_encoder
from training.data.camera import FILMED
from training.data.contrasts import KINDS, MIN_FRAMES, Medium, said
from training.data.features import FeatureCache
from training.data.filmed import film_pictures
from training.data.jsonl import Sample
from training.dry_run import Plan, Stage, activation_bytes
from training.engine.distributed import on_first, processes_here
from training.engine.loop import LoopConfig, fit
from training.engine.record import claim, describe, note_session, recorded
from training.engine.run import run_in
from training.media import Chosen, cached_samples, feature_cache
from training.precompute import caption_states, frame_features
from training.recipe import Recipe, load_recipe, settled
from training.tasks.branch import HELD_OUT_GROUPS, BranchSettings, BranchTask
from training.tasks.heads import FrameTable, HeadsTask, WordStates
from training.tasks.wake import follow_motion, wake

LOOKED_AT = 200
"""Media whose first frames tell a branch how the tower holds places."""


@dataclass(frozen=True, kw_only=True)
class AlignRecipe(Recipe):
    """Lengths in steps, sizes in media."""

    num_frames: int = 8
    head_steps: int = 300
    head_batch: int = 1024
    head_lr: float = 1.5e-3
    head_dropout: float = 0.3
    head_noise: float = 0.3
    """Of what the heads read, in standard deviations of each channel."""
    branch_steps: int = 200
    branch_batch: int = 48
    """Clips in a batch."""
    branch_pictures: int = 512
    """Pictures in a batch."""
    branch_accumulate: int = 7
    """Batches a step. Captions are told apart within each batch only."""
    branch_lr: float = 5e-4
    branch_heads_lr: float = 1e-4
    branch_mask: float = 0.84
    """Share of the patches that the branch does not see in training, 0.7 in BT-Adapter; a step costs less in proportion."""
    camera_rows: int = 4
    """Neighbouring rows of patches that the branch sees of camera moves, 0 for all: scattered patches do not show them."""
    camera_frames: int = 4
    """The fewest frames that are seen of a camera move in training; how many of num_frames, is drawn for every batch."""
    group_weight: float = 5.0
    """Weight of the contrast within groups of scenes and camera moves beside that with all others."""
    use_branch: bool = True
    """False trains the heads alone on the same batches, for comparison: the mean of frames."""
    kinds: tuple[str, ...] = BranchSettings.kinds
    """Kinds of batches in their turn: pictures, clips, scenes, camera, partial (see training.data.contrasts)."""
    similarities: tuple[str, ...] = BranchSettings.similarities
    """What the loss compares: "plain" for STAN, "mug_simple" or "mug" for Mug-STAN, or several in equal parts."""
    filmed_pictures: int = 900
    """Pictures that a camera moves over; each costs the tower 2 * num_frames frames, once."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder != "mini":
            raise ValueError(
                f"expected an encoder with alignment heads, 'mini', got '{self.encoder}'. post-pretrain trains the others."
            )
        least = {
            "num_frames": MIN_FRAMES, "head_batch": 2, "branch_batch": 2, "branch_pictures": 2, "branch_accumulate": 1,
        }  # fmt: skip
        if small := [  # contrast needs two
            f"{key} of {n} or more, got {getattr(self, key)}" for key, n in least.items() if getattr(self, key) < n
        ]:
            raise ValueError(f"expected {'; '.join(small)}.")
        for key in ("head_dropout", "branch_mask"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"expected {key} of at least 0 and below 1, got {getattr(self, key)}.")
        if not 2 <= self.camera_frames <= self.num_frames:
            raise ValueError(
                f"expected camera_frames from 2 to num_frames = {self.num_frames}, got {self.camera_frames}."
            )
        for key in ("head_noise", "camera_rows", "group_weight"):
            if getattr(self, key) < 0:
                raise ValueError(f"expected {key} of 0 or more, got {getattr(self, key)}.")
        for key, known in (("kinds", KINDS), ("similarities", MODES)):
            chosen = getattr(self, key)
            if not chosen or set(chosen) - set(known):
                got = sorted(set(chosen) - set(known)) or "none"
                raise ValueError(f"expected {key} of {', '.join(known)}, got {got}.")

    @property
    def heads_loop(self) -> LoopConfig:
        return LoopConfig(steps=self.head_steps, seed=self.seed)

    @property
    def branch_loop(self) -> LoopConfig:
        return LoopConfig(
            steps=self.branch_steps, accumulate=self.branch_accumulate, warmup=50, save_every=50, validate_every=100,
            log_every=2 * len(self.kinds) + 1,  # all kinds in their turn
            seed=self.seed,
        )  # fmt: skip

    @property
    def branch_settings(self) -> BranchSettings:
        return BranchSettings(
            kinds=self.kinds, similarities=self.similarities, use_branch=self.use_branch, batch=self.branch_batch,
            pictures=self.branch_pictures, dropout=self.head_dropout,
            lr=self.branch_lr, heads_lr=self.branch_heads_lr, mask=self.branch_mask,
            camera_rows=self.camera_rows, camera_frames=self.camera_frames, group_weight=self.group_weight,
            dtype=DTYPES[self.feature_dtype], seed=self.seed,
        )  # fmt: skip


def run_align(
    recipe_name: str,
    data: list[Path],
    output: Path,
    *,
    features: Path | None,
    resume: bool,
    seed: int | None = None,
) -> None:
    """Train the alignment heads and the branch of an encoder; writes output/encoder, a checkpoint folder.

    `seed` replaces that of the recipe.
    """

    def begin() -> AlignRecipe:
        recipe = _chosen_recipe(recipe_name, output, resume=resume, seed=seed)
        claim(output, describe("align", recipe, data, None), resume=resume)
        torch.set_num_threads(recipe.threads)
        note_session(output)
        return recipe

    recipe = on_first(begin)
    encoder = _fresh_encoder(recipe)
    cache = feature_cache(recipe.encoder, recipe.num_frames, features, DTYPES[recipe.feature_dtype])
    media = on_first(lambda: _read_media(data, encoder, recipe, cache, output))
    words = WordStates(encoder, text_tokenizer())
    branch = _branch_task(encoder, words, media, recipe)  # now, not in an hour, it says what is missing
    threads = max(1, recipe.threads // processes_here())
    words.known = caption_states(words, (c for chosen in media.values() for m in chosen for c in said(m)), cache)
    if recipe.head_steps:
        tables = {split: _frame_table(encoder, words, chosen, cache) for split, chosen in media.items()}
        torch.set_num_threads(threads)
        heads = _heads_task(encoder, tables, recipe)
        _free_heads(encoder)
        fit(heads, recipe.heads_loop, run_in(output / "heads"), resume=resume, name="heads")
    torch.set_num_threads(threads)
    if recipe.use_branch:
        _wake(encoder, media["train"], recipe)
    _free_branch(encoder, recipe)
    fit(branch, recipe.branch_loop, run_in(output / "branch"), resume=resume, name="branch")
    on_first(
        lambda: save_encoder(
            output / "encoder", encoder.eval(), preset=recipe.encoder, retrieval_mode=recipe.similarities[-1]
        )
    )


def plan_align(recipe_name: str, data: list[Path], output: Path, *, resume: bool, seed: int | None = None) -> Plan:
    """What run_align would do with the same arguments. Nothing is trained or written to `output`.

    Raises what run_align raises for its recipe and data, unreadable media excepted: none is opened.
    """
    recipe = _chosen_recipe(recipe_name, output, resume=resume, seed=seed)
    plan = Plan("align", recipe, data)
    if plan.missing:
        return plan
    chosen = Chosen.of(data)
    chosen.check_enough(sum(sample.split == "train" for sample in chosen.samples))
    torch.set_num_threads(recipe.threads)
    encoder = _fresh_encoder(recipe)
    words = WordStates(encoder, text_tokenizer())
    found: dict[str, list[tuple[Sample, Path]]] = {"train": [], "val": []}
    for sample in chosen.samples:
        found[sample.split].append((sample, sample.media))
    moves = dict.fromkeys(FILMED, Path())
    clips = _media(found, {split: dict.fromkeys(_to_film(found[split], split, recipe), moves) for split in found})
    branch = _branch_task(encoder, words, clips, recipe)
    frame = torch.zeros(1, encoder.backbone.moments_width).half()
    sentence = torch.zeros(1, words.width).half()
    tables = {
        split: FrameTable(
            [frame] * len(chosen), [sentence.expand(len(m.captions), -1) for m in chosen], [m.name for m in chosen]
        )
        for split, chosen in clips.items()
    }
    heads = _heads_task(encoder, tables, recipe)
    _free_heads(encoder)
    frames = sum(recipe.num_frames if m.is_video else 1 for chosen in clips.values() for m in chosen)
    captions = [caption for chosen in clips.values() for medium in chosen for caption in medium.captions]
    known = words.count({caption for chosen in clips.values() for medium in chosen for caption in said(medium)})
    first = Stage.of(
        "heads", heads, {"encoder": encoder}, recipe.heads_loop,
        batch=min(recipe.head_batch, len(clips["train"])), media=len(clips["train"]),
        kept=(frames * frame.numel() + (len(captions) + known) * sentence.numel()) * 2,
        activations=activation_bytes(lambda: heads.loss(0)),
    )  # fmt: skip
    _free_branch(encoder, recipe)
    size = encoder.backbone.transform.size
    with torch.inference_mode():
        one = encoder.backbone.frame_states(torch.zeros(1, 3, size, size), encoder.branch.depth)  # (d, 1, 1 + L, D)
    pair = torch.zeros(one.shape[0], 2, recipe.num_frames, *one.shape[2:])

    def see_two_clips() -> Tensor:
        with branch.autocast():
            return encoder.encode_states(pair).video

    second = Stage.of(
        "branch", branch, {"encoder": encoder}, recipe.branch_loop, batch=recipe.branch_batch,
        media=len(clips["train"]), kept=first.kept,
        activations=(activation_bytes(see_two_clips) + 4 * pair.numel()) * recipe.branch_batch // 2,
    )  # fmt: skip
    plan.stages = [first, second]
    return plan


def _chosen_recipe(name: str, output: Path, *, resume: bool, seed: int | None) -> AlignRecipe:
    recipe = load_recipe(name, AlignRecipe)
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    return settled(recipe, recorded(output) if resume else {})


def _fresh_encoder(recipe: AlignRecipe) -> MugSTAN:
    torch.manual_seed(recipe.seed)  # heads and branch start the same in every run
    return create_encoder(recipe.encoder)


def _wake(encoder: MugSTAN, media: list[Medium], recipe: AlignRecipe) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    wake(encoder.branch, generator)
    frames = torch.cat([FeatureCache.load(medium.file)[0, :1].float() for medium in media[:LOOKED_AT]])
    follow_motion(encoder, frames, generator)


def _read_media(
    data: list[Path], encoder: MugSTAN, recipe: AlignRecipe, cache: FeatureCache, output: Path
) -> dict[str, list[Medium]]:
    """Media of the splits train and val, with their states computed now."""
    found = cached_samples(data, encoder, cache, output=output, max_unreadable=recipe.max_unreadable)
    filmed = {}
    for split, samples in found.items():
        chosen = _to_film(samples, split, recipe)
        with tqdm(
            total=len(chosen), desc=f"filmed, {split}", unit="picture", dynamic_ncols=True, disable=not chosen
        ) as bar:
            moves = film_pictures([samples[i] for i in chosen], cache, encoder, bar.update)
        filmed[split] = dict(zip(chosen, moves, strict=True))
    return _media(found, filmed)


def _to_film(samples: list[tuple[Sample, Path]], split: str, recipe: AlignRecipe) -> list[int]:
    """Numbers of the pictures that a camera moves over: the same ones for every seed, since they cost time."""
    if "camera" not in recipe.kinds:
        return []
    pictures = [i for i, (sample, _) in enumerate(samples) if not sample.is_video]
    wanted = recipe.filmed_pictures if split == "train" else HELD_OUT_GROUPS
    return sorted(random.Random(f"filmed-{split}").sample(pictures, min(wanted, len(pictures))))


def _media(
    found: dict[str, list[tuple[Sample, Path]]], filmed: dict[str, dict[int, dict[str, Path]]]
) -> dict[str, list[Medium]]:
    return {
        split: [
            Medium(
                file, s.captions, s.is_video, name=str(s.media), detail=s.detail, filmed=filmed[split].get(i)
            )
            for i, (s, file) in enumerate(samples)
        ]
        for split, samples in found.items()
    }  # fmt: skip


def _frame_table(encoder: MugSTAN, words: WordStates, media: list[Medium], cache: FeatureCache) -> FrameTable:
    sentences = [torch.stack([words.known[c].float().mean(0).half() for c in medium.captions]) for medium in media]
    return FrameTable(frame_features(encoder, media, cache), sentences, [medium.name for medium in media])


def _heads_task(encoder: MugSTAN, tables: dict[str, FrameTable], recipe: AlignRecipe) -> HeadsTask:
    return HeadsTask(
        encoder, tables["train"], tables["val"], batch_size=recipe.head_batch, lr=recipe.head_lr,
        dropout=recipe.head_dropout, noise=recipe.head_noise, seed=recipe.seed,
    )  # fmt: skip


def _branch_task(
    encoder: MugSTAN, words: WordStates, media: dict[str, list[Medium]], recipe: AlignRecipe
) -> BranchTask:
    return BranchTask(
        encoder, words, media["train"], media["val"], num_frames=recipe.num_frames, settings=recipe.branch_settings
    )


def _free_heads(encoder: MugSTAN) -> None:
    """Let the two heads learn, and nothing else."""
    encoder.requires_grad_(False)
    encoder.backbone.vision_head.requires_grad_(True)
    encoder.backbone.vision_lower.requires_grad_(True)
    encoder.backbone.text_head.requires_grad_(True)


def _free_branch(encoder: MugSTAN, recipe: AlignRecipe) -> None:
    """Let heads, word order and, where it takes part, the branch learn."""
    _free_heads(encoder)
    encoder.backbone.text_order.requires_grad_(True)
    encoder.branch.requires_grad_(recipe.use_branch)
