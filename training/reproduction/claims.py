"""Every claim as a table: RUNS/CLAIM.md for people and RUNS/CLAIM.json for other programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bridge.runtime import find_runtime, use_threads
from encoder.presets import create_encoder
from training.align import run_align
from training.data.contrasts import stacked
from training.engine.files import write_text
from training.media import feature_cache
from training.reproduction import actions, camera, cost, misalignment, order, retrieval
from training.reproduction.material import LABELLED_SETS, Material, training_files
from training.reproduction.table import Scores, markdown
from training.reproduction.variants import CLAIMS, FRAME_MEAN, MISALIGNED, STAN, Trained, Variant

NUM_FRAMES = 8
Table = Mapping[str, Mapping[str, Scores]]


def run(claim: str, data: Path, runs: Path, features: Path | None, seeds: tuple[int, ...]) -> str:
    """Train, or measure a claim and write its table; returns what to print."""
    if claim == "train":
        return train(data, runs, features, seeds)
    runtime = find_runtime()
    use_threads(runtime)
    material = Material(
        data, feature_cache("mini", NUM_FRAMES, features, runtime.encoder_dtype), create_encoder("mini")
    )
    if claim == "cost":
        return _write(runs, claim, *_cost(runs, seeds))
    table = {
        "order": _order,
        "camera": _camera,
        "retrieval": _retrieval,
        "misalignment": _misalignment,
        "actions": _actions,
    }
    return _write_scores(runs, claim, table[claim](material, runs, seeds))


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


def _load(variant: Variant, runs: Path, seeds: tuple[int, ...]) -> list[Trained]:
    return [Trained.load(variant, variant.folder(runs, seed)) for seed in seeds]


def _order(material: Material, runs: Path, seeds: tuple[int, ...]) -> Table:
    sets = {"held-out pictures": order.joined_pictures(material), "dev_clips/order": order.joined_clips(material)}
    return {
        variant.name: {name: order.order_scores(_load(variant, runs, seeds), *pairs) for name, pairs in sets.items()}
        for variant in CLAIMS
    }


def _camera(material: Material, runs: Path, seeds: tuple[int, ...]) -> Table:
    return {
        variant.name: {"left, right, in, out": camera.camera_scores(_load(variant, runs, seeds), material)}
        for variant in CLAIMS
    }


def _retrieval(material: Material, runs: Path, seeds: tuple[int, ...]) -> Table:
    pictures = material.pictures()
    clips, clip_states = retrieval.dev_clips(material)
    sets = {"Flickr8k test": (pictures, stacked(pictures, 1)), "dev_clips": (clips, clip_states)}
    table: dict[str, dict[str, Scores]] = {}
    for variant in CLAIMS:
        encoders = _load(variant, runs, seeds)
        table[variant.name] = {
            f"{name}, {direction}": scores
            for name, (media, states) in sets.items()
            for direction, scores in retrieval.retrieval_scores(encoders, media, states, None).items()
        }
    return table


def _misalignment(material: Material, runs: Path, seeds: tuple[int, ...]) -> Table:
    pictures = material.pictures()
    names = [medium.name for medium in pictures]
    clean = stacked(pictures, NUM_FRAMES), misalignment.clean_pairs(pictures), names
    sets = {"clean": clean, "misaligned": misalignment.misaligned_pairs(material)}
    table: dict[str, dict[str, Scores]] = {}
    for variant in MISALIGNED:
        encoders = _load(variant, runs, seeds)
        table[variant.name] = {
            f"{name}, {title}": misalignment.pair_scores(encoders, *pairs, mode)
            for name, pairs in sets.items()
            for title, mode in (("own similarity", None), ("plain", "plain"))
        }
    return table


def _actions(material: Material, runs: Path, seeds: tuple[int, ...]) -> Table:
    sets = {name: actions.labelled_clips(material, name) for name in LABELLED_SETS}
    table: dict[str, dict[str, Scores]] = {}
    for variant in CLAIMS:
        encoders = _load(variant, runs, seeds)
        table[variant.name] = {
            f"{name}, {title}": measure(encoders, *clips)
            for name, clips in sets.items()
            for title, measure in (("zero-shot", actions.zero_shot), ("linear", actions.linear))
        }
    return table


def _cost(runs: Path, seeds: tuple[int, ...]) -> tuple[str, dict[str, object]]:
    encoder = Trained.load(STAN, STAN.folder(runs, seeds[0])).encoder
    mean, branch = cost.costs(encoder, NUM_FRAMES, find_runtime().encoder_dtype)
    share, time_share = branch.gflop / mean.gflop, branch.seconds / mean.seconds
    rows = {
        FRAME_MEAN.name: _cost_cells(mean), "the branch adds": _cost_cells(branch),
        "share": {"parameters": f"{branch.parameters / mean.parameters:.1%}", "GFLOP": f"{share:.1%}", "ms": f"{time_share:.1%}"},
    }  # fmt: skip
    text = f"{markdown(rows)}\nTime share over operation share: {time_share / share:.2f}.\n"
    return text, {
        "frame mean": asdict(mean),
        "branch": asdict(branch),
        "time_share_over_flop_share": time_share / share,
    }


def _cost_cells(one: cost.Cost) -> dict[str, str]:
    return {
        "parameters": f"{one.parameters / 1e6:.1f} M",
        "GFLOP": f"{one.gflop:.1f}",
        "ms": f"{1000 * one.seconds:.0f}",
    }


def _write_scores(runs: Path, claim: str, table: Table) -> str:
    """The table, and what each variant gains over the first one."""
    text = markdown(
        {name: {column: scores.cell() for column, scores in cells.items()} for name, cells in table.items()}
    )
    content: dict[str, object] = {
        name: {column: scores.row() for column, scores in cells.items()} for name, cells in table.items()
    }
    first, *others = table
    gaps: dict[str, dict[str, object]] = {}
    for name in others:
        gaps[f"{name} - {first}"] = {}
        for column, scores in table[name].items():
            difference, interval = scores.gap(table[first][column])
            gaps[f"{name} - {first}"][column] = {"difference": difference, "ci95": list(interval)}
    lines = {
        title: {c: f"{g['difference']:+.3f} ({g['ci95'][0]:+.3f} to {g['ci95'][1]:+.3f})" for c, g in cells.items()}
        for title, cells in gaps.items()
    }
    return _write(runs, claim, f"{text}\n{markdown(lines)}", content | {"gaps": gaps})


def _write(runs: Path, claim: str, text: str, content: Mapping[str, object]) -> str:
    write_text(runs / f"{claim}.md", text)
    write_text(runs / f"{claim}.json", json.dumps(content, indent=2) + "\n")
    return text
