"""`python -m training post-pretrain` and `retrieval`: videos and their captions, told apart."""

from dataclasses import dataclass
from pathlib import Path

import torch

from encoder.checkpoints import save_encoder
from encoder.mug import MODES
from encoder.presets import create_tokenizer
from training.data.reader_threads import ReaderThreads
from training.data.train_sets import CAPTIONED, check_split
from training.engine.distributed import on_first
from training.recipe import RecipeError
from training.tasks.video_text import VideoTextTask
from training.video_plan import VideoPlan
from training.video_recipe import VideoRecipe, load_video_recipe
from training.video_setup import Setup, set_up


@dataclass(frozen=True, kw_only=True)
class ContrastRecipe(VideoRecipe):
    """Post-pretraining and retrieval differ in nothing but their values."""

    caption_words: int
    """Word pieces that are read of a caption, its start and its end among them."""
    similarity: str
    """"plain" for STAN, "mug" or "mug_simple" for Mug-STAN (published: the simple form)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self.dataset, self.split, CAPTIONED)
        if self.similarity not in MODES:
            raise ValueError(f"unknown similarity '{self.similarity}'. Known: {', '.join(MODES)}.")
        if self.caption_words < 3:
            raise ValueError(
                f"expected caption_words of 3 or more, for a start, a word and an end, got {self.caption_words}."
            )
        if self.videos_at_once < 2:
            raise ValueError(f"expected two videos or more in a batch to tell apart, got {self.videos_at_once}.")


def run_contrast(
    command: str, recipe_name: str, data: Path, output: Path, *, tower: str | None, init: Path | None, resume: bool
) -> None:
    """Train an encoder on captioned videos; writes output/encoder, a checkpoint folder."""
    setup = _set_up(command, recipe_name, data, tower=tower, init=init)
    setup.train(_task, output, resume=resume)
    recipe, encoder = setup.recipe, setup.trainee.encoder
    note = {"preset": recipe.encoder, "retrieval_mode": recipe.similarity, "num_frames": recipe.num_frames}
    on_first(lambda: save_encoder(output / "encoder", encoder.eval(), **note))


def plan_contrast(
    command: str, recipe_name: str, data: Path, output: Path, *, tower: str | None, init: Path | None
) -> VideoPlan:
    """What run_contrast would do with the same arguments. Nothing is trained or written.

    Raises what run_contrast raises for its recipe, data and start.
    """
    setup = _set_up(command, recipe_name, data, tower=tower, init=init)

    def see(count: int) -> tuple[object, ...]:
        words = torch.ones(count, setup.recipe.caption_words, dtype=torch.long)
        return setup.trainee.watch(setup.blank(count)), setup.trainee.read(words, words)

    return VideoPlan(setup, _task(setup, ReaderThreads(0), output), see)


def _set_up(
    command: str, recipe_name: str, data: Path, *, tower: str | None, init: Path | None
) -> Setup[ContrastRecipe]:
    setup = set_up(command, load_video_recipe(recipe_name, ContrastRecipe, tower), data, CAPTIONED, init=init)
    longest = setup.trainee.encoder.backbone.text.config.max_position_embeddings
    if setup.recipe.caption_words > longest:
        raise RecipeError(
            f"expected caption_words of at most {longest}, which is what the text tower of {setup.recipe.encoder} reads, "
            f"got {setup.recipe.caption_words}."
        )
    return setup


def _task(setup: Setup[ContrastRecipe], threads: ReaderThreads, output: Path) -> VideoTextTask:
    r = setup.recipe
    return VideoTextTask(
        setup.trainee, create_tokenizer(r.encoder), setup.batches(threads, output), setup.to_measure(threads),
        setup.groups(), max_words=r.caption_words, similarity=r.similarity, temperature=r.temperature,
    )  # fmt: skip
