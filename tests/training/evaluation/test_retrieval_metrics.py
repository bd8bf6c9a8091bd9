"""Ranks agree with a slow and obvious count, whatever ties there are, and with the classical one where there are none."""

import numpy as np
import pytest

from training.evaluation.retrieval_metrics import KS, dual_softmax, ranks, recall_at, summarise_ranks


def slow_ranks(similarity: np.ndarray, relevant: list[list[int]]) -> list[float]:
    """Halfway between the first and the last place that the best right item can have beside the wrong ones."""
    found = []
    for query, right in enumerate(relevant):
        best = max(similarity[query][item] for item in right)
        first = last = 1
        for item in range(similarity.shape[1]):
            if item in right:
                continue
            if similarity[query][item] > best:
                first, last = first + 1, last + 1
            elif similarity[query][item] == best:
                last += 1
        found.append((first + last) / 2)
    return found


def degenerate(seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """Few different values, so that ties are everywhere; some rows constant, some equal; one item or one query at times."""
    rng = np.random.default_rng(seed)
    queries, items = rng.integers(1, 13, size=2)
    similarity = rng.integers(-2, rng.integers(-1, 6), size=(queries, items)).astype(rng.choice(["f4", "f8"])) / 4
    if seed % 3 == 0:
        similarity[rng.integers(queries)] = 0.25
    if seed % 4 == 0:
        similarity[rng.integers(queries)] = similarity[rng.integers(queries)]
    if seed % 5 == 0:
        similarity[:, rng.integers(items)] = similarity[:, rng.integers(items)]
    right = [
        sorted(rng.choice(items, size=rng.integers(1, min(4, items) + 1), replace=False).tolist())
        for _ in range(queries)
    ]
    return similarity, right


def classical(similarity: np.ndarray) -> dict[str, float]:
    """As CLIP4Clip computes it: where in the sorted row the value of the diagonal stands."""
    ordered = np.sort(-similarity, axis=1)
    _, place = np.where(ordered - np.diag(-similarity)[:, None] == 0)
    recalls = {f"R@{k}": float(np.sum(place < k)) / len(place) for k in KS}
    return {**recalls, "MdR": np.median(place) + 1, "MnR": np.mean(place) + 1}


def test_a_thousand_degenerate_matrices_agree_with_the_slow_count() -> None:
    tied = several = 0
    for seed in range(1000):
        similarity, relevant = degenerate(seed)
        expected = slow_ranks(similarity, relevant)
        assert ranks(similarity, relevant).tolist() == expected, seed
        tied += any(rank % 1 for rank in expected)
        several += any(len(right) > 1 for right in relevant)
    assert min(tied, several) > 300, "the matrices hold what they should"


def test_a_thousand_matrices_without_ties_agree_with_the_classical_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.retrieval_metrics.cluster_bootstrap", lambda *_, **__: (0.0, 1.0))
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 40))
        similarity = rng.normal(size=(size, size)) + np.eye(size)
        assert len(np.unique(similarity)) == size * size
        for matrix in (similarity, similarity.T):
            found = ranks(matrix, [[i] for i in range(size)])
            row = summarise_ranks(found, [str(i) for i in range(size)], seed=0).row()
            expected = classical(matrix)
            assert {name: row[name] for name in expected if name != "MnR"} == {
                name: value for name, value in expected.items() if name != "MnR"
            }, seed
            assert row["MnR"] == pytest.approx(expected["MnR"], rel=1e-12), "a sum in another order"


@pytest.mark.parametrize("clips", [1, 2, 3, 8, 20])
def test_identical_clips_get_the_middle_rank(clips: int) -> None:
    """No order of equal clips is better than another: nobody is first unless alone, and nobody is last."""
    found = ranks(np.full((clips, clips), 0.7), [[i] for i in range(clips)])
    assert found.tolist() == [(clips + 1) / 2] * clips
    assert recall_at(1, found) == float(clips == 1)
    assert recall_at(5, found) == float(clips <= 9)


def test_right_captions_do_not_stand_in_each_others_way() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.8]])
    assert ranks(similarity, [[1, 3]]).tolist() == [2.0], "two right ones tie behind a wrong one"
    assert ranks(similarity, [[0, 1, 3]]).tolist() == [1.0]
    assert ranks(similarity, [[0, 1, 2, 3]]).tolist() == [1.0]
    assert ranks(similarity, [[3, 1, 3]]).tolist() == [2.0], "whatever their order, and named twice or not"
    assert ranks(similarity, [[3]]).tolist() == [2.5], "and tie with each other where only one is right"


def test_no_order_of_queries_or_items_changes_a_rank() -> None:
    for seed in range(100):
        similarity, relevant = degenerate(seed)
        rng = np.random.default_rng(seed)
        rows, columns = rng.permutation(similarity.shape[0]), rng.permutation(similarity.shape[1])
        place = np.argsort(columns)
        moved = ranks(similarity[rows][:, columns], [[int(place[i]) for i in relevant[row]] for row in rows])
        assert moved.tolist() == ranks(similarity, relevant)[rows].tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_found(value: float) -> None:
    """A NaN is neither greater nor equal: it would win every comparison that it is left out of."""
    similarity = np.zeros((4, 6))
    similarity[2, 5] = similarity[3, 0] = value
    for function in (lambda: ranks(similarity, [[0]] * 4), lambda: dual_softmax(similarity, 100.0)):
        with pytest.raises(ValueError, match=rf"query 2 and item 5 is {value}: .* 2 of 24 are not"):
            function()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (2, 3, 4)])
def test_empty_and_misshapen_matrices_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one query and item"):
        ranks(np.zeros(shape), [[0]] * shape[0])


def test_right_items_are_checked() -> None:
    similarity = np.zeros((2, 3))
    with pytest.raises(ValueError, match="right items of 2 queries, got those of 1"):
        ranks(similarity, [[0]])
    for right in ([], [3], [-1]):
        with pytest.raises(ValueError, match=r"query 1: expected at least one right item from 0 to 2"):
            ranks(similarity, [[0], right])


def test_a_summary_has_fractions_and_an_interval_over_whole_videos() -> None:
    found = np.array([1.0, 1.0, 4.0, 7.5, 11.0, 30.0])
    row = summarise_ranks(found, list("aabbcc"), seed=0).row()
    low, high = row.pop("ci95")
    assert row == {"R@1": 2 / 6, "R@5": 3 / 6, "R@10": 4 / 6, "MdR": 5.75, "MnR": pytest.approx(54.5 / 6)}
    assert (low, high) == (0.0, 1.0), "three videos, one of them right: all or none may be drawn"


def test_what_was_not_answered_is_a_miss_whatever_its_rank() -> None:
    """Of three videos the worst rank is 4, which R@5 must not take for a hit."""
    found, answered = np.array([1.0, 2.0, 4.0]), np.array([True, True, False])
    summary = summarise_ranks(found, list("abc"), seed=0, answered=answered)
    assert summary.recall == {1: 1 / 3, 5: 2 / 3, 10: 2 / 3}
    assert (summary.median_rank, summary.mean_rank) == (2.0, 7 / 3)
    none = summarise_ranks(np.array([1.0]), ["a"], seed=0, answered=np.array([False]))
    assert (none.recall[1], none.ci95) == (0.0, pytest.approx((0.0, 0.793), abs=1e-3))


def test_dual_softmax_is_the_published_product() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.uniform(0, 1, (5, 4)).astype(np.float32)
    exact = similarity.astype(np.float64)
    expected = exact * np.exp(10 * exact) / np.exp(10 * exact).sum(axis=0)
    np.testing.assert_allclose(dual_softmax(similarity, 10.0), expected, rtol=1e-12)
    cold = dual_softmax(np.array([[1.0, -0.9], [0.9, -1.0]]), 1000.0)
    assert np.isfinite(cold).all(), "an item that nobody wants has weights too"


def test_dual_softmax_takes_an_item_from_all_queries_but_one() -> None:
    """A hub that every query likes best goes to the query that likes it most."""
    similarity = np.array([[0.9, 0.5], [0.8, 0.7]])
    assert ranks(similarity, [[0], [1]]).tolist() == [1.0, 2.0]
    assert ranks(dual_softmax(similarity, 100.0), [[0], [1]]).tolist() == [1.0, 1.0]
