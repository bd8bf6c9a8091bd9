"""What trainings on videos have in common: recipe, data, the encoder that is trained, and the folder that they write."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from encoder.checkpoints import CONFIG_FILE, CheckpointError, load_encoder, read_encoder_config
from encoder.model import MugSTAN
from encoder.presets import create_encoder
from training.data.batches import Batches
from training.data.clip_frames import ClipFrames
from training.data.datasets.clips import missing_media
from training.data.examples import Clip, Examples, digest, hold_out
from training.data.held_out import HeldOut
from training.data.jsonl import DataError
from training.data.reader_threads import ReaderThreads
from training.data.train_sets import Reader, TrainSet
from training.data.unreadable import Unreadable
from training.engine.distributed import on_first, own_device, share
from training.engine.loop import LoopConfig, Task, fit
from training.engine.record import claim, describe, note_session
from training.engine.run import run_in
from training.media import LEDGER_FILE
from training.recipe import RecipeError
from training.trainee import Trainee
from training.video_recipe import VideoRecipe

log = logging.getLogger(__name__)
MOST_LOOKED_FOR = 20_000
"""Videos of which it is seen before a training whether they are there, spread over all: WebVid has millions."""
R = TypeVar("R", bound=VideoRecipe)
T = TypeVar("T", bound=Task)


@dataclass(frozen=True, kw_only=True)
class Setup(Generic[R]):
    """A training that could begin. Nothing is written yet, and no video is opened."""

    command: str
    recipe: R
    data: Path
    init: Path | None
    train_set: TrainSet
    examples: Examples
    held_out: list[Clip]
    trainee: Trainee

    @property
    def loop(self) -> LoopConfig:
        return self.recipe.loop(len(self.examples))

    def train(self, make_task: Callable[["Setup[R]", ReaderThreads, Path], T], output: Path, *, resume: bool) -> T:
        """Take the output folder and train; returns the task, trained.

        Raises DataError for too many missing videos, FileExistsError and ResumeError for a folder that holds something,
        DivergedError.
        """
        with ReaderThreads(self.recipe.workers) as threads:
            task = make_task(self, threads, output)
            on_first(lambda: self._claim(output, resume=resume))
            fit(task, self.loop, run_in(output / self.command), resume=resume, name=self.command)
        return task

    def looked_for(self) -> tuple[int, list[str]]:
        """How many videos were looked for, and those that are not there; a warning names some."""
        clips = self.train_set.clips
        some = clips[:: -(-len(clips) // MOST_LOOKED_FOR)]
        return len(some), missing_media(self.train_set.root, some)

    def groups(self, *others: dict) -> list[dict]:
        """AdamW groups of all that is trained, those of other modules after the encoder's. Raises RecipeError for none."""
        r = self.recipe
        rates = {"lr": r.lr, "branch_lr": r.branch_lr, "weight_decay": r.weight_decay}
        found = [*self.trainee.parameter_groups(**rates), *others]
        if not found:
            raise RecipeError(f"expected something to train, got none beside frozen = {list(r.frozen)}.")
        return found

    def batches(self, threads: ReaderThreads, output: Path) -> Batches:
        """Of the training; what cannot be read is noted in `output`."""
        r = self.recipe
        unreadable = Unreadable(output / LEDGER_FILE, limit=r.max_unreadable, total=len(self.examples.clips))
        return Batches(
            self.examples, replace(self._frames, crop_area=r.crop_area), threads, unreadable,
            batch_size=r.videos_at_once, total=self.loop.steps * r.accumulate, seed=r.seed,
        )  # fmt: skip

    def to_measure(self, threads: ReaderThreads) -> HeldOut:
        return HeldOut(self.held_out, self._frames, threads)

    def blank(self, count: int) -> Tensor:
        """Frames (count, T, 3, S, S) of nothing."""
        size = self._frames.transform.size
        return torch.zeros(count, self.recipe.num_frames, 3, size, size)

    def _claim(self, output: Path, *, resume: bool) -> None:
        count, missing = self.looked_for()
        if len(missing) > self.recipe.max_unreadable * count:
            raise DataError(
                f"{len(missing)} of {count} videos that were looked for are missing in {self.train_set.root}, more than "
                f"the share max_unreadable = {self.recipe.max_unreadable:g}: {', '.join(missing[:5])} ... Where do they lie?"
            )
        training = describe(self.command, self.recipe, [], self.init)
        training |= {"data": [str(self.data)], "data_sha256": [digest(self.train_set.clips, self.train_set.classes)]}
        claim(output, training, resume=resume)
        note_session(output)

    @property
    def _frames(self) -> ClipFrames:
        transform = self.trainee.encoder.backbone.transform
        return ClipFrames(root=self.train_set.root, transform=transform, num_frames=self.recipe.num_frames)


def set_up(
    command: str, recipe: R, data: Path, known: Mapping[str, Mapping[str, Reader]], *, init: Path | None
) -> Setup[R]:
    """Read the data, by one of the `known` readers, and build the encoder of a recipe, on this process's device.

    `init` is the folder of an encoder to start from. Raises DataError, RecipeError, CheckpointError, ProcessesError, and
    FileNotFoundError for weights that are not at hand.
    """
    train_set = known[recipe.dataset][recipe.split](data)
    learned, held_out = hold_out(train_set.clips, recipe.val_videos, recipe.seed)
    if len(learned) < 2:
        raise DataError(
            f"{data}: expected two videos or more to learn from, got {len(learned)}, and {len(held_out)} to measure on. "
            f"The recipe's val_videos = {recipe.val_videos} are held out of all that can be learned from."
        )
    for shared in (recipe.videos_at_once, *([len(held_out)] if held_out else [])):
        share(shared)  # now, not in an hour, it says that there are more processes than that
    encoder = starting_encoder(recipe, init).to(own_device())
    if recipe.gradient_checkpointing:
        encoder.recompute_layers()
    autocast = torch.bfloat16 if recipe.autocast else None
    return Setup(
        command=command, recipe=recipe, data=data, init=init, train_set=train_set, examples=Examples(learned),
        held_out=held_out,
        trainee=Trainee(encoder, frozen=recipe.frozen, autocast=autocast, mask=recipe.mask, seed=recipe.seed),
    )  # fmt: skip


def starting_encoder(recipe: VideoRecipe, init: Path | None) -> MugSTAN:
    """The recipe's preset, or the encoder of a folder. Raises CheckpointError where that is none of this preset."""
    torch.manual_seed(recipe.seed)  # a fresh branch starts the same in every run and process
    if init is None:
        if recipe.encoder == "mini":
            log.warning("mini's alignment heads start at random. --init checkpoints/mini starts from trained ones.")
        return create_encoder(recipe.encoder)
    if not (init / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"expected the folder of an encoder with {CONFIG_FILE} to start from, got '{init}'.")
    try:
        preset = read_encoder_config(init / CONFIG_FILE).preset
        if preset != recipe.encoder:
            raise CheckpointError(
                f"{init} holds a {preset}, the recipe trains a {recipe.encoder}: choose another folder, or --tower {preset}."
            )
        return load_encoder(init)
    except (KeyError, json.JSONDecodeError) as error:  # a config.json of another origin
        raise CheckpointError(f"{init} is no encoder to start from: {error.args[0]}") from error
