"""Ranks of text-video retrieval and what is made of them. Axes: Q queries, N items to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.statistics import cluster_bootstrap

KS = (1, 5, 10)
DUAL_SOFTMAX_TEMPERATURE = 100.0
"""As a multiplier of similarities from -1 to 1: CLIP's own logit scale."""


@dataclass(frozen=True, kw_only=True)
class DirectionSummary:
    """One direction. Recalls are fractions from 0 to 1, `ci95` is of recall[1], and ranks count from 1."""

    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    ci95: tuple[float, float]

    def row(self) -> dict[str, float | list[float]]:
        """As a JSON object: R@1, R@5, R@10, MdR, MnR and ci95."""
        recalls = {f"R@{k}": value for k, value in self.recall.items()}
        return {**recalls, "MdR": self.median_rank, "MnR": self.mean_rank, "ci95": list(self.ci95)}


def ranks(similarity: np.ndarray, relevant: Sequence[Sequence[int]]) -> np.ndarray:
    """Rank (Q,) of the best right item of every query, from similarities (Q, N) and each query's right items.

    rank = 1 + wrong items that are more similar + half of the wrong items that are exactly as similar: the mean over
    all orders of the ties, so that no order of the items helps. With one right item among N that are all alike the rank
    is (N + 1) / 2: neither the first place nor the last is given away. Several right items (the captions of a video) do
    not stand in each other's way.
    Raises ValueError for similarities that are not finite, and for a query without a right item.
    """
    check_finite(similarity)
    if len(relevant) != len(similarity):
        raise ValueError(f"expected the right items of {len(similarity)} queries, got those of {len(relevant)}.")
    best, own_ties = np.empty((len(similarity), 1), similarity.dtype), np.empty(len(similarity))
    for query, right in enumerate(relevant):
        if not len(right) or min(right) < 0 or max(right) >= similarity.shape[1]:
            raise ValueError(
                f"query {query}: expected at least one right item from 0 to {similarity.shape[1] - 1}, got {list(right)}."
            )
        scores = similarity[query, sorted(set(right))]
        best[query] = scores.max()
        own_ties[query] = np.count_nonzero(scores == best[query])
    greater = np.count_nonzero(similarity > best, axis=1)  # none of them is right
    return 1 + greater + 0.5 * (np.count_nonzero(similarity == best, axis=1) - own_ties)


def check_finite(similarity: np.ndarray) -> None:
    """Raises ValueError when the matrix is empty, or says where it is not finite: a rank beside NaN means nothing."""
    if similarity.ndim != 2 or not similarity.size:
        raise ValueError(f"expected similarities (Q, N) of at least one query and item, got {similarity.shape}.")
    if not np.isfinite(similarity).all():
        places = np.argwhere(~np.isfinite(similarity))
        query, item = places[0]
        raise ValueError(
            f"similarity of query {query} and item {item} is {similarity[query, item]}: expected finite numbers, "
            f"{len(places)} of {similarity.size} are not."
        )


def dual_softmax(similarity: np.ndarray, temperature: float = DUAL_SOFTMAX_TEMPERATURE) -> np.ndarray:
    """Similarities (Q, N), each weighted by softmax over the queries: an item belongs to the query that wants it most.

    Looks at the whole set of queries at once (CAMoE, arXiv 2109.04290), so its ranks are never comparable with ranks of
    plain similarities. As published, it expects right pairs to be of positive similarity. float64: its weights get
    smaller than float32 can tell from zero. Raises ValueError for similarities that are not finite.
    """
    check_finite(similarity)
    weights = temperature * similarity.astype(np.float64)
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=0)
    return weights * similarity


def recall_at(k: int, found: np.ndarray, answered: np.ndarray | None = None) -> float:
    """Share of queries whose rank is at most k. Those not `answered` (Q,) bool are misses, whatever their rank."""
    hits = found <= k
    return float(np.mean(hits if answered is None else hits & answered))


def summarise_ranks(
    found: np.ndarray, clusters: Sequence[str], *, seed: int, answered: np.ndarray | None = None
) -> DirectionSummary:
    """Sum up ranks (Q,). `clusters` names the video of each query: the interval resamples whole videos.

    Queries that are not `answered` count as misses at every K, and with the rank given for them in MdR and MnR.
    """
    hits = (found <= 1) if answered is None else (found <= 1) & answered
    return DirectionSummary(
        recall={k: recall_at(k, found, answered) for k in KS},
        median_rank=float(np.median(found)),
        mean_rank=float(np.mean(found)),
        ci95=cluster_bootstrap(hits.astype(float).tolist(), clusters, seed=seed),
    )
