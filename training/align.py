"""`python -m training align`: features once into the cache, then the two heads, then the branch."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from bridge.runtime import DTYPES
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import save_encoder
from encoder.model import MugSTAN
from encoder.presets import create_encoder
from encoder.runtime import cache_dir
from training.data.features import FeatureCache, cache_features
from training.data.jsonl import DataError, Sample, read_samples
from training.engine.loop import LoopConfig, fit
from training.engine.record import claim, describe, recorded
from training.engine.run import Run
from training.recipe import Recipe, load_recipe, settled
from training.tasks.align import MIN_FRAMES, BranchTask, FrameTable, HeadsTask, Medium, WordStates

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AlignRecipe(Recipe):
    """Lengths in steps, sizes in media."""

    num_frames: int = 8
    head_steps: int = 250
    head_batch: int = 1024
    head_lr: float = 1e-3
    head_dropout: float = 0.4
    branch_steps: int = 40
    branch_batch: int = 32
    branch_lr: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"num_frames": MIN_FRAMES, "head_batch": 2, "branch_batch": 2}  # contrast needs two
        if small := [
            f"{key} of {n} or more, got {getattr(self, key)}" for key, n in least.items() if getattr(self, key) < n
        ]:
            raise ValueError(f"expected {'; '.join(small)}.")


def run_align(recipe_name: str, data: list[Path], output: Path, *, features: Path | None, resume: bool) -> None:
    """Train the alignment heads and the branch of an encoder; writes output/encoder, a checkpoint folder."""
    recipe = settled(load_recipe(recipe_name, AlignRecipe), recorded(output) if resume else {})
    claim(output, describe("align", recipe, data, None), resume=resume)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)  # heads and branch start the same in every run
    encoder = create_encoder(recipe.encoder)
    media = cached_samples(
        data, encoder, recipe.encoder, recipe.num_frames, features, dtype=DTYPES[recipe.feature_dtype]
    )
    words = WordStates(encoder, text_tokenizer())
    clips = {split: [Medium(file, s.captions, s.is_video) for s, file in chosen] for split, chosen in media.items()}
    branch = BranchTask(
        encoder, words, clips["train"], clips["val"], batch_size=recipe.branch_batch, num_frames=recipe.num_frames,
        lr=recipe.branch_lr, seed=recipe.seed,
    )  # fmt: skip
    tables = {split: FrameTable(*precomputed(encoder, words, chosen, output)) for split, chosen in clips.items()}
    heads = HeadsTask(
        encoder, tables["train"], tables["val"], batch_size=recipe.head_batch, lr=recipe.head_lr,
        dropout=recipe.head_dropout, seed=recipe.seed,
    )  # fmt: skip

    encoder.requires_grad_(False)
    encoder.backbone.vision_head.requires_grad_(True)
    encoder.backbone.text_head.requires_grad_(True)
    fit(
        heads, LoopConfig(steps=recipe.head_steps, seed=recipe.seed), Run(output / "heads"), resume=resume, name="heads"
    )
    encoder.branch.requires_grad_(True)
    config = LoopConfig(steps=recipe.branch_steps, warmup=20, save_every=25, validate_every=75, seed=recipe.seed)
    fit(branch, config, Run(output / "branch"), resume=resume, name="branch")
    save_encoder(output / "encoder", encoder.eval(), preset=recipe.encoder)


def cached_samples(
    data: list[Path],
    encoder: MugSTAN,
    tower: str,
    num_frames: int,
    features: Path | None,
    *,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, list[tuple[Sample, Path]]]:
    """The train and the val split of the files: samples with captions, each with the file of its tower states.

    Nothing is computed for other samples; media that cannot be read are left out. Raises DataError where fewer than two
    are left to train on.
    """
    rows = [sample for path in data for sample in read_samples(path)]
    samples = [sample for sample in rows if sample.captions and sample.split in ("train", "val")]
    cache = FeatureCache(
        folder=features or cache_dir() / "features", tower=f"{tower}-v1", num_frames=num_frames, dtype=dtype
    )
    with tqdm(total=len(samples), desc="features", unit="medium", dynamic_ncols=True) as bar:
        files = cache_features(samples, cache, encoder, on_progress=bar.update)
    media: dict[str, list[tuple[Sample, Path]]] = {"train": [], "val": []}
    for index, file in sorted(files.items()):
        media[samples[index].split].append((samples[index], file))
    if len(media["train"]) < 2:
        of_train = [sample for sample in rows if sample.split == "train"]
        silent = sum(not sample.captions for sample in of_train)
        raise DataError(
            f"expected at least two readable media with captions in the train split, got {len(media['train'])}: of "
            f"{len(rows)} rows {len(of_train)} are of that split, {silent} of these have no captions, and "
            f"{len(of_train) - silent - len(media['train'])} could not be read (the lines above say why)."
        )
    log.info("%d media to learn from, %d held out", len(media["train"]), len(media["val"]))
    return media


@torch.inference_mode()
def precomputed(
    encoder: MugSTAN, words: WordStates, media: list[Medium], folder: Path
) -> tuple[list[Tensor], list[Tensor]]:
    """What the heads receive: (T, 2D) of every medium and (captions, D) of its sentences.

    Kept in `folder` under the hash of the features' names and the captions.
    """
    content = json.dumps([(medium.file.name, medium.captions) for medium in media])
    path = folder / f"precomputed-{hashlib.sha256(content.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        tensors = {}
        for i, medium in enumerate(tqdm(media, desc="frames", unit="medium", dynamic_ncols=True)):
            normed = encoder.backbone.vision.layernorm(FeatureCache.load(medium.file)[-1].float())  # (T, 1 + L, D)
            tensors[f"frames.{i}"] = torch.cat([normed[:, 0], normed[:, 1:].mean(1)], dim=-1).half()
        captions = [(i, caption) for i, medium in enumerate(media) for caption in medium.captions]
        captions.sort(key=lambda pair: len(pair[1]))
        states: dict[int, list[Tensor]] = {}
        for first in tqdm(range(0, len(captions), 256), desc="captions", unit="batch", dynamic_ncols=True):
            chunk = captions[first : first + 256]
            for (i, _), state in zip(chunk, words.sentence_states([c for _, c in chunk]), strict=True):
                states.setdefault(i, []).append(state.half())
        tensors |= {f"sentences.{i}": torch.stack(s) for i, s in states.items()}
        save_file(tensors, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
    tensors = load_file(path)
    return [tensors[f"frames.{i}"] for i in range(len(media))], [tensors[f"sentences.{i}"] for i in range(len(media))]
