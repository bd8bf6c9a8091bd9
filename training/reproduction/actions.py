"""Claim (e), actions that no training saw: by the names of the classes, and by a linear classifier on other clips."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from training.data.jsonl import Sample, read_rows
from training.evaluation.action_prompts import TEMPLATES, prompts
from training.reproduction.material import LABELS, Material
from training.reproduction.table import Scores
from training.reproduction.variants import Trained

FOLDS = 5
GROUP = 10
"""Clips whose numbers lie in the same ten may be of one recording: they are all trained on, or all tested."""
RIDGE = 0.1


def labelled_clips(material: Material, name: str) -> tuple[Tensor, list[str], list[str]]:
    """States of the clips of a set, their labels, and the group of each."""
    path = material.root / LABELS
    rows = [row for _, row in read_rows(path) if row["set"] == name]
    samples = [
        Sample(media=path.parent / row["video"], is_video=True, captions=(), qa=(), split="test") for row in rows
    ]
    groups = [f"{row['label']} {int(re.findall(r'[0-9]+', row['video'])[-1]) // GROUP}" for row in rows]
    return material.clips(samples), [row["label"] for row in rows], groups


def zero_shot(encoders: Sequence[Trained], states: Tensor, labels: list[str], groups: list[str]) -> Scores:
    """Whether the prompts of the right class are the most similar ones."""
    classes = sorted(set(labels))
    seeds = []
    for trained in encoders:
        said = trained.read([prompt for name in classes for prompt in prompts(name)]).sentence
        features = normalize(normalize(said, dim=-1).reshape(len(classes), len(TEMPLATES), -1).mean(1), dim=-1)
        found = (normalize(trained.watch(states).video, dim=-1) @ features.T).argmax(1)
        seeds.append([float(classes[int(i)] == label) for i, label in zip(found, labels, strict=True)])
    return Scores(seeds, groups)


def linear(encoders: Sequence[Trained], states: Tensor, labels: list[str], groups: list[str]) -> Scores:
    """Ridge regression to the classes on four fifths of the groups, tested on the last, five times."""
    classes = sorted(set(labels))
    target = torch.tensor([classes.index(label) for label in labels])
    fold = _folds(groups)
    seeds = []
    for trained in encoders:
        features = normalize(trained.watch(states).video, dim=-1)
        found = torch.empty(len(labels), dtype=torch.long)
        for number in range(FOLDS):
            test = fold == number
            found[test] = _ridge(features[~test], one_hot(target[~test]).float(), features[test]).argmax(1)
        seeds.append((found == target).float().tolist())
    return Scores(seeds, groups)


def _folds(groups: Sequence[str]) -> Tensor:
    """The fold of each clip: groups in turn, class after class."""
    number = {group: i % FOLDS for i, group in enumerate(sorted(set(groups)))}
    return torch.tensor([number[group] for group in groups])


def _ridge(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
    """Predictions for `new` (M, E) of the least squares from (N, E) to (N, C), in the dual: N is less than E."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred @ centred.T
    weights = torch.linalg.solve(gram + RIDGE * torch.eye(len(x)), y - mean_y)
    return (new - mean_x) @ centred.T @ weights + mean_y
