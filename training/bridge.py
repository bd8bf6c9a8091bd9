"""`python -m training bridge`: pooled features once, then the projector's first lesson, then projector and LoRA."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from tqdm import tqdm

from bridge.checkpoint import (
    ADAPTER_FOLDER,
    BRIDGE_FILE,
    CheckpointConfig,
    EncoderPart,
    LLMPart,
    ProjectorPart,
    load_projector,
    read_config,
    save_checkpoint,
)
from bridge.language_model import LanguageModel, load_language_model
from bridge.projectors import PROJECTORS, Projector
from bridge.runtime import DTYPES
from encoder.checkpoints import CheckpointError, load_encoder
from encoder.model import MugSTAN
from training.data.pooled import PooledMedium, pool_media
from training.dry_run import Plan, Stage, activation_bytes
from training.engine.loop import LoopConfig, fit
from training.engine.record import claim, describe, note_session, recorded
from training.engine.run import Run, has_state
from training.media import Chosen, cached_samples, feature_cache
from training.recipe import Recipe, load_recipe, settled
from training.tasks.bridge import BridgeSettings, BridgeTask
from training.tasks.words import Tokenize, WordsTask

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, kw_only=True)
class BridgeRecipe(BridgeSettings, Recipe):
    """What to train, and for how long; lengths in steps."""

    preset: str = "mini"
    """The name that the chat model carries."""
    llm: str = "smollm2-135m-instruct"
    projector: str = "mlp2x_gelu"
    grid: int = 3
    word_steps: int = 800
    word_batch: int = 256
    word_lr: float = 1e-3
    steps: int = 1500
    accumulate: int = 1
    """Batches a step. The ranking loss ranks within each batch, and captions' tokens are averaged within each."""
    warmup: int = 50
    lora_rank: int = 32
    save_every: int = 50
    validate_every: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projector not in PROJECTORS:
            raise ValueError(
                f"unknown projector '{self.projector}'. Known projectors: {', '.join(sorted(PROJECTORS))}."
            )
        if self.accumulate < 1:
            raise ValueError(f"expected accumulate of 1 or more, got {self.accumulate}.")

    @property
    def words_loop(self) -> LoopConfig:
        return LoopConfig(steps=self.word_steps, seed=self.seed)

    @property
    def bridge_loop(self) -> LoopConfig:
        return LoopConfig(
            steps=self.steps, accumulate=self.accumulate, warmup=self.warmup, save_every=self.save_every,
            validate_every=self.validate_every, seed=self.seed,
        )  # fmt: skip


def run_bridge(
    recipe_name: str,
    data: list[Path],
    output: Path,
    *,
    encoder_folder: Path | None,
    init: Path | None = None,
    features: Path | None,
    resume: bool,
    finish: bool = False,
) -> None:
    """Train projector and LoRA; writes output/checkpoint, a folder that --model opens.

    `init` is such a folder to start from, encoder included: the projector's first lesson is left out then.
    CheckpointError where it is of another kind than the recipe. `finish` trains no further and writes the checkpoint of
    the last saved state; FileNotFoundError where there is none.
    """
    resume = resume or finish
    recipe = settled(load_recipe(recipe_name, BridgeRecipe), recorded(output) if resume else {})
    run = Run(output / "bridge")
    if finish and not has_state(run.folder):
        raise FileNotFoundError(
            f"expected a saved state {run.state_file} to finish, found none. Start without --finish."
        )
    encoder = _starting_encoder(encoder_folder, init, recipe)
    claim(output, describe("bridge", recipe, data, encoder_folder or init), resume=resume)
    torch.set_num_threads(recipe.threads)
    note_session(output)
    cache = feature_cache(recipe.encoder, recipe.num_frames, features, DTYPES[recipe.feature_dtype])
    samples = cached_samples(data, encoder, cache, output=output, max_unreadable=recipe.max_unreadable)
    language_model = load_language_model(recipe.llm, dtype=torch.bfloat16)
    projector = _fresh_projector(encoder, language_model, recipe)
    media = {}
    for split, chosen in samples.items():
        files = {file for _, file in chosen}
        with tqdm(total=len(files), desc=f"pooling {split}", unit="medium", dynamic_ncols=True) as bar:
            media[split] = pool_media(chosen, encoder, projector.pooling, output, bar.update)

    if init is None:
        words = _words_task(projector, language_model, media, recipe)
        fit(words, recipe.words_loop, Run(output / "words"), resume=resume, name="words")
    else:
        load_projector(projector, init / BRIDGE_FILE)

    adapted = _with_lora(language_model.model, recipe, init)
    task = _bridge_task(projector, adapted, language_model, media, recipe)
    if finish:
        step = run.restore(task.module, torch.optim.AdamW(task.parameter_groups()))
    else:
        step = fit(task, recipe.bridge_loop, run, resume=resume, name="bridge")
    save_checkpoint(
        output / "checkpoint",
        config=CheckpointConfig(
            preset=recipe.preset, encoder=EncoderPart(preset=recipe.encoder), llm=LLMPart(name=recipe.llm),
            projector=ProjectorPart(net=recipe.projector, grid=recipe.grid), num_frames=recipe.num_frames,
            system=recipe.system, step=step,
        ),
        encoder=encoder, projector=projector, adapter=adapted,
    )  # fmt: skip


def plan_bridge(
    recipe_name: str, data: list[Path], output: Path, *, encoder_folder: Path | None, init: Path | None, resume: bool
) -> Plan:
    """What run_bridge would do with the same arguments. Nothing is trained or written to `output`.

    Raises what run_bridge raises for its recipe, data and start, unreadable media excepted: none is opened.
    """
    recipe = settled(load_recipe(recipe_name, BridgeRecipe), recorded(output) if resume else {})
    plan = Plan("bridge", recipe, data)
    if plan.missing:
        return plan
    chosen = Chosen.of(data)
    chosen.check_enough(sum(sample.split == "train" for sample in chosen.samples))
    encoder = _starting_encoder(encoder_folder, init, recipe).requires_grad_(False)
    torch.set_num_threads(recipe.threads)
    language_model = load_language_model(recipe.llm, dtype=torch.bfloat16)
    projector = _fresh_projector(encoder, language_model, recipe)
    features = torch.zeros(projector.num_tokens(recipe.num_frames), projector.norm.normalized_shape[0]).half()
    media: dict[str, list[PooledMedium]] = {"train": [], "val": []}
    for sample in chosen.samples:
        tokens = features if sample.is_video else features[: projector.num_tokens(1)]
        media[sample.split].append(PooledMedium(tokens, sample.captions, sample.qa, sample.is_video, str(sample.media)))
    kept = sum(2 * medium.pooled.numel() for chosen in media.values() for medium in chosen)
    count = len(media["train"])
    if init is None:
        words = _words_task(projector, language_model, media, recipe)
        first = Stage.of(
            "words", words, {"encoder": encoder, "projector": projector}, recipe.words_loop,
            batch=min(recipe.word_batch, count), media=count, kept=kept,
            activations=activation_bytes(lambda: words.loss(0)),
        )  # fmt: skip
        plan.stages.append(first)
    adapted = _with_lora(language_model.model, recipe, init)
    task = _bridge_task(projector, adapted, language_model, media, recipe)
    fullest = task.settings.qa_from if recipe.qa_from < recipe.steps else 0  # questions make the longest batches
    second = Stage.of(
        "bridge", task, {"encoder": encoder, "projector": projector, "llm": adapted}, recipe.bridge_loop,
        batch=min(recipe.batch_size, count), media=count, kept=kept,
        activations=activation_bytes(lambda: task.loss(fullest)),
    )  # fmt: skip
    plan.stages.append(second)
    return plan


def _fresh_projector(encoder: MugSTAN, language_model: LanguageModel, recipe: BridgeRecipe) -> Projector:
    torch.manual_seed(recipe.seed)  # projector and adapter start the same in every run
    projector = Projector(
        net=recipe.projector, grid=recipe.grid, width=encoder.backbone.width, embed_dim=encoder.backbone.embed_dim,
        llm_dim=language_model.llm_dim,
    )  # fmt: skip
    projector.place_among(_embeddings(language_model))
    return projector


def _embeddings(language_model: LanguageModel) -> Tensor:
    return language_model.model.get_input_embeddings().weight.detach()


def _words_task(
    projector: Projector, language_model: LanguageModel, media: dict[str, list[PooledMedium]], recipe: BridgeRecipe
) -> WordsTask:
    return WordsTask(
        projector, _embeddings(language_model), Tokenize(language_model.tokenizer), media["train"], media["val"],
        batch_size=recipe.word_batch, lr=recipe.word_lr, seed=recipe.seed,
    )  # fmt: skip


def _bridge_task(
    projector: Projector,
    adapted: PeftModel,
    language_model: LanguageModel,
    media: dict[str, list[PooledMedium]],
    recipe: BridgeRecipe,
) -> BridgeTask:
    """The task counts batches, the recipe steps."""
    settings = replace(recipe, qa_from=recipe.qa_from * recipe.accumulate)
    return BridgeTask(projector, adapted, language_model.tokenizer, media["train"], media["val"], settings)


def _with_lora(llm: nn.Module, recipe: BridgeRecipe, init: Path | None) -> PeftModel:
    """The frozen LLM with a trainable adapter, a new one or that of `init`."""
    llm.requires_grad_(False)
    if init is not None:
        return PeftModel.from_pretrained(llm, str(init / ADAPTER_FOLDER), is_trainable=True)
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(
        r=recipe.lora_rank, lora_alpha=2 * recipe.lora_rank, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
    )
    return get_peft_model(llm, lora)


def _starting_encoder(encoder_folder: Path | None, init: Path | None, recipe: BridgeRecipe) -> MugSTAN:
    """The encoder of a folder that suits the recipe, else the recipe's fresh one."""
    try:
        if init is not None:
            _check_kind(init, recipe)
        return load_encoder(encoder_folder or init or recipe.encoder)
    except (KeyError, json.JSONDecodeError) as error:  # a config.json of another origin
        raise CheckpointError(f"{encoder_folder or init} is no checkpoint to start from: {error.args[0]}") from error


def _check_kind(init: Path, recipe: BridgeRecipe) -> None:
    """Raise CheckpointError unless the checkpoint is made of the parts that the recipe names."""
    config = read_config(init)
    if lacking := [part for part in ("encoder", "bridge", "adapter") if part not in config.parts]:
        raise CheckpointError(
            f"expected a checkpoint with encoder, bridge and adapter to start from, {init} lacks {lacking}."
        )
    wanted = {
        "encoder": recipe.encoder, "llm": recipe.llm, "projector": recipe.projector, "grid": recipe.grid,
        "num_frames": recipe.num_frames, "system": recipe.system,
    }  # fmt: skip
    found = {
        "encoder": config.encoder.preset, "llm": config.llm.name, "projector": config.projector.net,
        "grid": config.projector.grid, "num_frames": config.num_frames, "system": config.system,
    }  # fmt: skip
    different = [
        f"{key} is {found[key]!r} there, {wanted[key]!r} in the recipe" for key in wanted if found[key] != wanted[key]
    ]
    if different:
        raise CheckpointError(
            f"{init} cannot be started from: {'; '.join(different)}. Change the recipe or leave out --init."
        )
