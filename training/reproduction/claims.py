"""Every claim as a table: RUNS/CLAIM.md, from the scores of RUNS/CLAIM.json."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

from bridge.runtime import find_runtime, use_threads
from encoder.presets import create_encoder
from training.align import run_align
from training.data.contrasts import stacked
from training.engine.files import write_text
from training.media import feature_cache
from training.reproduction import actions, camera, cost, misalignment, order, retrieval
from training.reproduction.material import LABELLED_SETS, Material, training_files
from training.reproduction.record import Record
from training.reproduction.table import Scores, markdown
from training.reproduction.variants import CLAIMS, FRAME_MEAN, MISALIGNED, STAN, Trained, Variant

NUM_FRAMES = 8
Measure = Callable[[Trained], Mapping[str, Scores]]


def run(claim: str, data: Path, runs: Path, features: Path | None, seeds: tuple[int, ...]) -> str:
    """Train, or measure a claim and write its table; returns what to print."""
    if claim == "train":
        return train(data, runs, features, seeds)
    use_threads(find_runtime())
    if claim == "cost":
        return _cost(runs, seeds)
    variants, prepare = MEASURED[claim]
    prepared = cache(lambda: prepare(_material(data, features)))  # only where something is missing
    table = _table(Record(runs / f"{claim}.json"), runs, variants, seeds, lambda trained: prepared()(trained))
    return _write(runs, claim, _with_gaps(table))


def train(data: Path, runs: Path, features: Path | None, seeds: tuple[int, ...]) -> str:
    """Every variant with every seed; finished runs are left alone, broken ones go on."""
    for seed in seeds:
        for variant in (*CLAIMS, *MISALIGNED):
            folder = variant.folder(runs, seed)
            if not (folder / "encoder").exists():
                run_align(
                    variant.recipe, training_files(data), folder, features=features, resume=folder.exists(), seed=seed
                )
    return f"{len(seeds) * len((*CLAIMS, *MISALIGNED))} runs in {runs}\n"


def _material(data: Path, features: Path | None) -> Material:
    return Material(
        data, feature_cache("mini", NUM_FRAMES, features, find_runtime().encoder_dtype), create_encoder("mini")
    )


def _table(
    record: Record, runs: Path, variants: tuple[Variant, ...], seeds: tuple[int, ...], measure: Measure
) -> dict[str, dict[str, Scores]]:
    """Scores of all seeds by variant and column; what the record lacks is measured and added to it."""
    table = {}
    for variant in variants:
        found = []
        for seed in seeds:
            folder = variant.folder(runs, seed)
            if record.find(folder) is None:
                record.add(folder, measure(Trained.load(variant, folder)))
            found.append(record.find(folder))
        table[variant.name] = {column: Scores.together([scores[column] for scores in found]) for column in found[0]}
    return table


def _order(material: Material) -> Measure:
    sets = {"held-out pictures": order.joined_pictures(material), "dev_clips/order": order.joined_clips(material)}
    return lambda trained: {name: order.order_scores([trained], *pairs) for name, pairs in sets.items()}


def _camera(material: Material) -> Measure:
    return lambda trained: {"left, right, in, out": camera.camera_scores([trained], material)}


def _retrieval(material: Material) -> Measure:
    pictures = material.pictures()
    sets = {"Flickr8k test": (pictures, stacked(pictures, 1)), "dev_clips": retrieval.dev_clips(material)}
    return lambda trained: {
        f"{name}, {direction}": scores
        for name, media in sets.items()
        for direction, scores in retrieval.retrieval_scores([trained], *media, None).items()
    }


def _misalignment(material: Material) -> Measure:
    pictures = material.pictures()
    names = [medium.name for medium in pictures]
    clean = stacked(pictures, NUM_FRAMES), misalignment.clean_pairs(pictures), names
    sets = {"clean": clean, "misaligned": misalignment.misaligned_pairs(material)}
    return lambda trained: {
        f"{name}, {title}": misalignment.pair_scores([trained], *pairs, mode)
        for name, pairs in sets.items()
        for title, mode in (("own similarity", None), ("plain", "plain"))
    }


def _actions(material: Material) -> Measure:
    sets = {name: actions.labelled_clips(material, name) for name in LABELLED_SETS}
    return lambda trained: {
        f"{name}, {title}": measure([trained], *clips)
        for name, clips in sets.items()
        for title, measure in (("zero-shot", actions.zero_shot), ("linear", actions.linear))
    }


MEASURED: Mapping[str, tuple[tuple[Variant, ...], Callable[[Material], Measure]]] = {
    "order": (CLAIMS, _order), "camera": (CLAIMS, _camera), "retrieval": (CLAIMS, _retrieval),
    "misalignment": (MISALIGNED, _misalignment), "actions": (CLAIMS, _actions),
}  # fmt: skip


def _cost(runs: Path, seeds: tuple[int, ...]) -> str:
    encoder = Trained.load(STAN, STAN.folder(runs, seeds[0])).encoder
    mean, branch = cost.costs(encoder, NUM_FRAMES, find_runtime().encoder_dtype)
    share, time_share = branch.gflop / mean.gflop, branch.seconds / mean.seconds
    rows = {
        FRAME_MEAN.name: _cost_cells(mean), "the branch adds": _cost_cells(branch),
        "share": {"parameters": f"{branch.parameters / mean.parameters:.1%}", "GFLOP": f"{share:.1%}", "ms": f"{time_share:.1%}"},
    }  # fmt: skip
    found = {
        "frame mean": asdict(mean), "branch": asdict(branch), "time_share_over_flop_share": time_share / share,
    }  # fmt: skip
    write_text(runs / "cost.json", json.dumps(found, indent=2) + "\n")
    return _write(runs, "cost", f"{markdown(rows)}\nTime share over operation share: {time_share / share:.2f}.\n")


def _cost_cells(one: cost.Cost) -> dict[str, str]:
    return {
        "parameters": f"{one.parameters / 1e6:.1f} M",
        "GFLOP": f"{one.gflop:.1f}",
        "ms": f"{1000 * one.seconds:.0f}",
    }


def _with_gaps(table: Mapping[str, Mapping[str, Scores]]) -> str:
    """The table, and what each variant gains over the first one on the same items."""
    text = markdown(
        {name: {column: scores.cell() for column, scores in cells.items()} for name, cells in table.items()}
    )
    first, *others = table
    gaps: dict[str, dict[str, str]] = {}
    for name in others:
        gaps[f"{name} - {first}"] = {}
        for column, scores in table[name].items():
            difference, (low, high) = scores.gap(table[first][column])
            gaps[f"{name} - {first}"][column] = f"{difference:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"{text}\n{markdown(gaps)}"


def _write(runs: Path, claim: str, text: str) -> str:
    write_text(runs / f"{claim}.md", text)
    return text
