"""Accuracy and its uncertainty. Questions about one video are not independent: intervals resample whole videos."""

from collections.abc import Sequence

import numpy as np

ROUNDS = 10_000


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[str], *, seed: int, rounds: int = ROUNDS
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` when whole clusters are drawn with replacement.

    Where all values are 0, or all 1, every draw has the same mean: the interval is then Wilson's, of as many
    observations as there are clusters. `clusters` names the cluster of each value. Raises ValueError when there are no values or the lengths differ.
    """
    if not values or len(values) != len(clusters):
        raise ValueError(f"expected as many clusters as values, at least one, got {len(clusters)} and {len(values)}.")
    # By name, so that neither the order of the items nor their number per video changes which videos are drawn.
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    counts = np.bincount(index)
    if len(set(values)) == 1 and values[0] in (0.0, 1.0):
        return wilson(values[0], len(names))
    generator = np.random.default_rng(seed)
    means = np.empty(rounds)
    for i in range(rounds):
        drawn = generator.integers(len(names), size=len(names))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def wilson(share: float, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share observed in n independent trials (Wilson 1927, eq. for the score test)."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def paired_gap(
    ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[str], *, seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean of ours minus theirs on the same items, with its clustered interval."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    low, high = cluster_bootstrap([(d + 1) / 2 for d in differences], clusters, seed=seed)  # as shares, from 0 to 1
    return sum(differences) / len(differences), (2 * low - 1, 2 * high - 1)


def sign_flip_test(
    ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[str], *, seed: int, rounds: int = ROUNDS
) -> float:
    """Two-sided p-value of no difference: how often the sum is as far from zero when whole clusters change sides.

    All sign patterns are tried where they are no more than `rounds`, else random ones (with the one that was seen).
    """
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=differences, minlength=len(names))
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    seen, tolerance = abs(sums.sum()), 1e-9
    if 2 ** len(sums) <= rounds:
        signs = 1 - 2 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1)
        return float((abs(signs @ sums) >= seen - tolerance).mean())
    generator, as_far = np.random.default_rng(seed), 0
    for _ in range(rounds):  # one by one: all at once would be gigabytes for a large benchmark
        as_far += abs(generator.choice((-1.0, 1.0), size=len(sums)) @ sums) >= seen - tolerance
    return float((as_far + 1) / (rounds + 1))
