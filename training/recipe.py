"""Recipes: TOML files whose keys are the fields of a frozen dataclass."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from bridge.runtime import DTYPES, find_cpu_runtime
from encoder.presets import ENCODERS

RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """A recipe cannot be followed; the message names the file and the key."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every recipe says. Training uses the CPU."""

    encoder: str = "mini"
    threads: int = 0
    """0 takes the number that is fastest here."""
    feature_dtype: str = ""
    """What the frozen tower computes in, and `align` its branch, "bfloat16" or "float32"; "" takes the one that is fastest here."""
    max_unreadable: float = 0.05
    """Share of the media that may be left out because they cannot be read, from 0 to 1."""

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f"unknown encoder '{self.encoder}'. Known encoders: {', '.join(sorted(ENCODERS))}.")
        if self.threads < 0:
            raise ValueError(f"expected threads of 0 or more, got {self.threads}.")
        if self.feature_dtype not in ("", *DTYPES):
            raise ValueError(f"unknown feature_dtype '{self.feature_dtype}'. Known dtypes: {', '.join(DTYPES)}.")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"expected max_unreadable from 0 to 1, got {self.max_unreadable}.")


AnyRecipe = TypeVar("AnyRecipe")
SettledRecipe = TypeVar("SettledRecipe", bound=Recipe)


def load_recipe(name_or_file: str, kind: type[AnyRecipe]) -> AnyRecipe:
    """A recipe by the name of a file in training/recipes, or by path.

    Raises FileNotFoundError with the known names, RecipeError on a key that `kind` does not have or a value it refuses.
    """
    path = find_recipe(name_or_file)
    return parse_recipe(path, read_recipe(path), kind)


def find_recipe(name_or_file: str) -> Path:
    """The file of a recipe. Raises FileNotFoundError with the known names."""
    path = RECIPES / f"{name_or_file}.toml"
    path = path if path.exists() else Path(name_or_file)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"expected a recipe's name or file, got '{name_or_file}'. Known recipes: {known}.")
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """What a file says. Raises RecipeError where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(path: Path, values: Mapping[str, Any], kind: type[AnyRecipe]) -> AnyRecipe:
    """The recipe that `values` of a file make. Raises RecipeError on a key that `kind` does not have or refuses."""
    try:
        check_keys(values, kind)
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{path}: {error}") from error


def check_keys(values: Mapping[str, Any], kind: type) -> None:
    """Raises ValueError that lists the keys of a recipe where `values` have others."""
    known = {f.name for f in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown {unknown}. Known keys: {', '.join(sorted(known))}.")


def settled(recipe: SettledRecipe, before: Mapping[str, Any]) -> SettledRecipe:
    """The recipe with measured values where it leaves them open.

    `before` is the record of the training that goes on, empty for a new one: a busy machine today gives it no other
    dtype and no other number of threads, on which the last bits depend.
    """
    if recipe.threads and recipe.feature_dtype:
        return recipe
    runtime = find_cpu_runtime()
    fastest = str(runtime.encoder_dtype).removeprefix("torch.")
    return replace(
        recipe,
        threads=recipe.threads or before.get("threads", 0) or runtime.threads,
        feature_dtype=recipe.feature_dtype or before.get("feature_dtype", fastest),
    )
