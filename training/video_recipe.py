"""What every recipe of a training on videos says. Its file may hold other values for a tower in a table [towers.NAME]."""

import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from encoder.presets import ENCODERS
from training.engine.loop import LoopConfig
from training.recipe import RecipeError, check_keys, find_recipe, parse_recipe, read_recipe

KINDS = {
    str: "a text", int: "a whole number", float: "a finite number", bool: "true or false",
    tuple[str, ...]: "a list of texts",
}  # fmt: skip
"""Types of keys, in words."""


@dataclass(frozen=True, kw_only=True)
class VideoRecipe:
    """Lengths in epochs: an epoch is every text of every clip once."""

    encoder: str
    """Preset of the encoder, whose towers are trained."""
    expected: str
    """The result that others have published or told of, and where; or "unknown"."""
    dataset: str
    """One of training.data.train_sets."""
    split: str
    """Of the data set, one to train on."""
    val_videos: int = 0
    """Videos of that split that are held out to measure on, chosen by the seed."""
    num_frames: int
    batch_size: int
    """Videos of a step, of all processes and accumulated batches together."""
    accumulate: int = 1
    """Batches that a step is made of, one after the other, in the memory of one; each has its part of batch_size."""
    epochs: float
    warmup_epochs: float
    """In which the learning rates rise to their peaks. Then they fall to zero, as a half cosine."""
    lr: float
    """Peak of the backbone's learning rate."""
    branch_lr: float
    weight_decay: float
    """Of matrices."""
    max_grad_norm: float = 1.0
    temperature: float
    """Fixed. Similarities are divided by it."""
    mask: float = 0.0
    """Share of the patches that the branch does not see in training."""
    frozen: tuple[str, ...] = ()
    """Modules that are not trained, by their exact names: "backbone.text"."""
    gradient_checkpointing: bool = False
    """Compute layers twice rather than keep what is inside them."""
    autocast: str = "bfloat16"
    """Dtype of matrix products; "" for that of the weights, float32."""
    crop_area: float = 1.0
    """Training sees random parts of at least this share of the picture; 1 for what the evaluation sees."""
    workers: int = 4
    """Threads of a process that read videos, each with a process of its own that decodes; 0 to read between the steps."""
    max_unreadable: float = 0.05
    """Share of the videos that may be replaced because they cannot be read, from 0 to 1."""
    seed: int = 0
    save_every: int = 500
    """In steps, like the next two."""
    validate_every: int = 1000
    log_every: int = 20

    def __post_init__(self) -> None:
        """Raises ValueError for values that make no sense, all of them in one message."""
        if strange := [
            f"{f.name} to be {KINDS[f.type]}, got {getattr(self, f.name)!r}"
            for f in fields(self)
            if not _is(getattr(self, f.name), f.type)
        ]:
            raise ValueError(f"expected {'; '.join(strange)}.")
        wrong = []
        if self.encoder not in ENCODERS:
            wrong.append(f"an encoder of {', '.join(sorted(ENCODERS))}, got '{self.encoder}'")
        if self.autocast not in ("", "bfloat16"):
            wrong.append(f"an autocast of bfloat16 or none at all, got '{self.autocast}'")
        for key, least in (
            ("num_frames", 1), ("batch_size", 2), ("accumulate", 1), ("val_videos", 0), ("workers", 0), ("save_every", 1),
            ("validate_every", 1), ("log_every", 1), ("warmup_epochs", 0), ("lr", 0), ("branch_lr", 0), ("weight_decay", 0),
            ("seed", 0),
        ):  # fmt: skip
            if getattr(self, key) < least:
                wrong.append(f"{key} of {least} or more, got {getattr(self, key)}")
        for key in ("epochs", "temperature", "max_grad_norm"):
            if getattr(self, key) <= 0:
                wrong.append(f"{key} above 0, got {getattr(self, key)}")
        if not 0 <= self.mask < 1:
            wrong.append(f"a mask of at least 0 and below 1, got {self.mask}")
        if not 0 < self.crop_area <= 1:
            wrong.append(f"a crop_area above 0 and up to 1, got {self.crop_area}")
        if not 0 <= self.max_unreadable <= 1:
            wrong.append(f"max_unreadable from 0 to 1, got {self.max_unreadable}")
        if self.accumulate > 0 and self.batch_size % self.accumulate:
            wrong.append(f"a batch_size that accumulate divides, got {self.batch_size} and {self.accumulate}")
        if wrong:
            raise ValueError(f"expected {'; '.join(wrong)}.")

    @property
    def videos_at_once(self) -> int:
        """Videos of a batch, of all processes together."""
        return self.batch_size // self.accumulate

    def loop(self, examples: int) -> LoopConfig:
        """How long it takes with so many examples."""
        return LoopConfig(
            steps=math.ceil(self.epochs * examples / self.batch_size), accumulate=self.accumulate,
            warmup=round(self.warmup_epochs * examples / self.batch_size), save_every=self.save_every,
            validate_every=self.validate_every, log_every=self.log_every, max_grad_norm=self.max_grad_norm,
            seed=self.seed,
        )  # fmt: skip


AnyVideoRecipe = TypeVar("AnyVideoRecipe", bound=VideoRecipe)


def load_video_recipe(name_or_file: str, kind: type[AnyVideoRecipe], tower: str | None) -> AnyVideoRecipe:
    """A recipe by name or path, for `tower` in place of its own encoder, with the values of the table of that name.

    Raises FileNotFoundError with the known names, RecipeError for unknown keys, values and towers.
    """
    path = find_recipe(name_or_file)
    values = read_recipe(path)
    towers = values.pop("towers", {})
    try:
        _check_towers(towers, kind)
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error
    encoder = tower or values.get("encoder")
    own = next((table for name, table in towers.items() if name == encoder), {})
    return parse_recipe(path, values | own | {"encoder": encoder}, kind)


def _check_towers(towers: Any, kind: type[VideoRecipe]) -> None:  # noqa: ANN401
    """Raises ValueError for a table that is no tower's, or has keys that recipes do not have."""
    if not isinstance(towers, dict):
        raise ValueError(f"expected tables [towers.NAME], got towers = {towers!r}.")
    for name, values in towers.items():
        if name not in ENCODERS or not isinstance(values, dict):
            raise ValueError(f"unknown table towers.{name}. Known towers: {', '.join(sorted(ENCODERS))}.")
        try:
            check_keys(values, kind)
        except ValueError as error:
            raise ValueError(f"towers.{name}: {error}") from error


def _is(value: Any, kind: Any) -> bool:  # noqa: ANN401
    """Whether a value of a recipe is of one of KINDS."""
    if kind == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind
