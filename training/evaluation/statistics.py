"""Accuracy and its uncertainty. Questions about one video are not independent: intervals resample whole videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a control scored, rates from 0 to 1. Failed items stay in `n`: they count as not correct."""

    accuracy: float
    ci95: tuple[float, float]
    n: int
    failed: int


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[str], *, seed: int, rounds: int = ROUNDS
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` when whole clusters are drawn with replacement.

    `clusters` names the cluster of each value. Raises ValueError when there are no values or the lengths differ.
    """
    if not values or len(values) != len(clusters):
        raise ValueError(f"expected as many clusters as values, at least one, got {len(clusters)} and {len(values)}.")
    # By name, so that neither the order of the items nor their number per video changes which videos are drawn.
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    counts = np.bincount(index)
    generator = np.random.default_rng(seed)
    means = np.empty(rounds)
    for i in range(rounds):
        drawn = generator.integers(len(names), size=len(names))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def summarise(correct: Sequence[bool], clusters: Sequence[str], *, failed: int, seed: int) -> Summary:
    """Accuracy over all items, failed ones included, with its clustered interval."""
    interval = cluster_bootstrap([float(value) for value in correct], clusters, seed=seed)
    return Summary(accuracy=sum(correct) / len(correct), ci95=interval, n=len(correct), failed=failed)


def paired_gap(
    ours: Sequence[bool], theirs: Sequence[bool], clusters: Sequence[str], *, seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean of ours minus theirs on the same items, with its clustered interval."""
    differences = [float(a) - float(b) for a, b in zip(ours, theirs, strict=True)]
    return sum(differences) / len(differences), cluster_bootstrap(differences, clusters, seed=seed)
