"""Recipes: TOML files whose keys are the fields of a frozen dataclass."""

import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

Recipe = TypeVar("Recipe")
RECIPES = Path(__file__).parent / "recipes"


def load_recipe(name_or_file: str, kind: type[Recipe]) -> Recipe:
    """A recipe by the name of a file in training/recipes, or by path.

    Raises FileNotFoundError with the known names, KeyError on a key that `kind` does not have.
    """
    path = RECIPES / f"{name_or_file}.toml"
    path = path if path.exists() else Path(name_or_file)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"expected a recipe's name or file, got '{name_or_file}'. Known recipes: {known}.")
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise KeyError(f"{path}: unknown {unknown}. Known keys: {', '.join(sorted(known))}.")
    return kind(**values)


def describe(recipe: object) -> dict:
    """The values of a recipe, for the run folder."""
    return asdict(recipe)
