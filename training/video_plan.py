"""What a training on videos would do, in words: recipe, data, what is trained and frozen, steps and memory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

from training.dry_run import Stage, activation_bytes
from training.engine.distributed import world_size
from training.engine.loop import Task
from training.video_recipe import VideoRecipe
from training.video_setup import Setup

SHOWN = 20
"""Missing videos that are named."""


class VideoPlan:
    """`missing` names the videos that are not there, where they are so many that the training would not start.

    `see` is the forward of so many samples, whose activations are counted.
    """

    def __init__(self, setup: Setup[VideoRecipe], task: Task, see: Callable[[int], object]) -> None:
        self.setup, self.task, self.see = setup, task, see
        self.looked_for, absent = setup.looked_for()
        self.absent = absent
        self.missing = absent if len(absent) > setup.recipe.max_unreadable * self.looked_for else []

    def text(self) -> str:
        """For people."""
        setup = self.setup
        lines = [f"training {setup.command}, nothing is trained or written", "recipe:"]
        lines += [f"  {key} = {json.dumps(value)}" for key, value in asdict(setup.recipe).items()]
        lines += [f"data: {setup.recipe.dataset}, {setup.recipe.split} in {setup.data}", *self._found()]
        return "\n".join([*lines, *self._stage().lines()])

    def _found(self) -> Iterator[str]:
        setup = self.setup
        yield f"  train: {len(setup.examples.clips):,} videos with {len(setup.examples):,} texts"
        yield f"  held out: {len(setup.held_out):,} videos"
        if setup.train_set.classes:
            yield f"  classes: {len(setup.train_set.classes)}"
        yield f"  missing: {len(self.absent):,} of {self.looked_for:,} videos that were looked for" + (
            ", the training would not start" if self.missing else ""
        )
        yield from (f"    {name}" for name in self.absent[:SHOWN])

    def activations(self) -> int:
        """Bytes that this process's share of a batch leaves for its backward; weights in bf16 are there once, not by sample."""
        one, two = (activation_bytes(partial(self.see, count)) for count in (1, 2))
        return one + (two - one) * (-(-self.setup.recipe.videos_at_once // world_size()) - 1)

    def _stage(self) -> Stage:
        setup = self.setup
        return Stage.of(
            setup.command, self.task, {"encoder": setup.trainee.encoder}, setup.loop, batch=setup.recipe.videos_at_once,
            media=len(setup.examples), kept=0, activations=self.activations(),
        )  # fmt: skip
