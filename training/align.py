"""`python -m training align`: features once into the cache, then the two heads, then the branch."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from bridge.runtime import find_runtime
from encoder.backbones.wheel_weights import text_tokenizer
from encoder.checkpoints import save_encoder
from encoder.model import MugSTAN
from encoder.presets import create_encoder
from encoder.runtime import cache_dir
from training.data.features import FeatureCache, cache_features
from training.data.jsonl import DataError, Sample, read_samples
from training.engine.loop import LoopConfig, fit
from training.engine.run import Run
from training.recipe import describe, load_recipe
from training.tasks.align import BranchTask, FrameTable, HeadsTask, Medium, WordStates

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AlignRecipe:
    """Lengths in steps, sizes in media."""

    encoder: str = "mini"
    num_frames: int = 8
    threads: int = 2
    head_steps: int = 250
    head_batch: int = 1024
    head_lr: float = 1e-3
    head_dropout: float = 0.4
    branch_steps: int = 40
    branch_batch: int = 32
    branch_lr: float = 1e-4
    seed: int = 0


def run_align(recipe_name: str, data: list[Path], output: Path, *, features: Path | None, resume: bool) -> None:
    """Train the alignment heads and the branch of an encoder; writes output/encoder, a checkpoint folder."""
    recipe = load_recipe(recipe_name, AlignRecipe)
    torch.set_num_threads(recipe.threads)
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.json").write_text(json.dumps(describe(recipe) | {"data": [str(p) for p in data]}, indent=2))
    torch.manual_seed(recipe.seed)  # heads and branch start the same in every run
    encoder = create_encoder(recipe.encoder)
    samples, files = cached_samples(data, encoder, recipe.encoder, recipe.num_frames, features)
    samples = {i: s for i, s in samples.items() if s.captions}
    splits = {split: [i for i in samples if i in files and samples[i].split == split] for split in ("train", "val")}
    if len(splits["train"]) < 2:
        raise DataError(
            f"expected at least two readable media with captions in the train split, got {len(splits['train'])} of "
            f"{len(samples)}. The lines above say which could not be read."
        )
    log.info("%d media to learn from, %d held out", len(splits["train"]), len(splits["val"]))

    words = WordStates(encoder, text_tokenizer())
    tables = {
        split: FrameTable(
            *_precomputed(encoder, words, samples, files, indices, output / f"precomputed-{split}.safetensors")
        )
        for split, indices in splits.items()
    }
    encoder.requires_grad_(False)
    encoder.backbone.vision_head.requires_grad_(True)
    encoder.backbone.text_head.requires_grad_(True)
    heads = HeadsTask(
        encoder, tables["train"], tables["val"], batch_size=recipe.head_batch, lr=recipe.head_lr,
        dropout=recipe.head_dropout, seed=recipe.seed,
    )  # fmt: skip
    fit(
        heads, LoopConfig(steps=recipe.head_steps, seed=recipe.seed), Run(output / "heads"), resume=resume, name="heads"
    )

    encoder.branch.requires_grad_(True)
    media = {
        split: [Medium(files[i], samples[i].captions, samples[i].is_video) for i in chosen]
        for split, chosen in splits.items()
    }
    branch = BranchTask(
        encoder, words, media["train"], media["val"], batch_size=recipe.branch_batch, num_frames=recipe.num_frames,
        lr=recipe.branch_lr, seed=recipe.seed,
    )  # fmt: skip
    encoder.train()
    config = LoopConfig(steps=recipe.branch_steps, warmup=20, save_every=25, validate_every=75, seed=recipe.seed)
    fit(branch, config, Run(output / "branch"), resume=resume, name="branch")
    save_encoder(output / "encoder", encoder.eval(), preset=recipe.encoder)


def cached_samples(
    data: list[Path], encoder: MugSTAN, tower: str, num_frames: int, features: Path | None
) -> tuple[dict[int, Sample], dict[int, Path]]:
    """All samples of the files, and where the tower's states of each lie; media that cannot be read are left out."""
    samples = [sample for path in data for sample in read_samples(path)]
    cache = FeatureCache(folder=features or cache_dir() / "features", tower=f"{tower}-v1", num_frames=num_frames)
    with tqdm(total=len(samples), desc="features", unit="medium", dynamic_ncols=True) as bar:
        files = cache_features(samples, cache, encoder, dtype=find_runtime().encoder_dtype, on_progress=bar.update)
    return dict(enumerate(samples)), files


@torch.inference_mode()
def _precomputed(
    encoder: MugSTAN,
    words: WordStates,
    samples: dict[int, Sample],
    files: dict[int, Path],
    indices: list[int],
    path: Path,
) -> tuple[list[Tensor], list[Tensor]]:
    """What the heads receive: (T, 2D) of every medium and (captions, D) of its sentences."""
    if not path.exists():
        tensors = {}
        for i in tqdm(indices, desc="frames", unit="medium", dynamic_ncols=True):
            normed = encoder.backbone.vision.layernorm(FeatureCache.load(files[i])[-1].float())  # (T, 1 + L, D)
            tensors[f"frames.{i}"] = torch.cat([normed[:, 0], normed[:, 1:].mean(1)], dim=-1).half()
        captions = [(i, c) for i in indices for c in samples[i].captions]
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
    return [tensors[f"frames.{i}"] for i in indices], [tensors[f"sentences.{i}"] for i in indices]
