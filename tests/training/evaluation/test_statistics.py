"""Intervals have the width that theory gives, and questions about one video count as one look at the world."""

import math

import numpy as np
import pytest

from training.evaluation.statistics import cluster_bootstrap, paired_gap, sign_flip_test, wilson


def test_interval_of_independent_items_is_the_normal_one() -> None:
    values = [1.0, 0.0] * 200
    low, high = cluster_bootstrap(values, [str(i) for i in range(400)], seed=0)
    half = 1.96 * math.sqrt(0.25 / 400)
    assert low == pytest.approx(0.5 - half, abs=0.006)
    assert high == pytest.approx(0.5 + half, abs=0.006)


def test_items_that_agree_inside_a_video_widen_the_interval_by_the_square_root_of_their_number() -> None:
    alone = cluster_bootstrap([1.0, 0.0] * 50, [str(i) for i in range(100)], seed=0)
    repeated = cluster_bootstrap(
        [v for v in [1.0, 0.0] * 50 for _ in range(4)], [str(i // 4) for i in range(400)], seed=0
    )
    pretending = cluster_bootstrap([v for v in [1.0, 0.0] * 50 for _ in range(4)], [str(i) for i in range(400)], seed=0)
    assert repeated == pytest.approx(alone, abs=0.01), "four copies of a question say no more than one"
    assert pretending[1] - pretending[0] == pytest.approx((alone[1] - alone[0]) / 2, rel=0.1)


def test_same_seed_same_interval_whatever_the_order() -> None:
    values, clusters = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0], list("aabbcc")
    assert cluster_bootstrap(values, clusters, seed=3) == cluster_bootstrap(values[::-1], clusters[::-1], seed=3)


def test_a_paired_gap_is_narrower_than_its_parts() -> None:
    ours = [i % 10 != 0 for i in range(200)]
    theirs = [i % 10 > 1 for i in range(200)]
    gain, (low, high) = paired_gap(ours, theirs, [str(i) for i in range(200)], seed=0)
    assert gain == pytest.approx(0.1)
    assert 0.05 < low < 0.1 < high < 0.15


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        cluster_bootstrap([], [], seed=0)


def test_a_p_value_counts_the_ways_to_change_sides() -> None:
    assert sign_flip_test([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], list("abc"), seed=0) == 2 / 8
    assert sign_flip_test([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], list("aab"), seed=0) == 2 / 4, "videos, not questions"
    assert sign_flip_test([1.0, 0.0], [1.0, 0.0], list("ab"), seed=0) == 1.0


def test_p_values_of_no_difference_are_uniform_and_those_of_a_large_one_are_small() -> None:
    generator = np.random.default_rng(0)
    clusters = [str(i) for i in range(40)]
    null = [sign_flip_test(*generator.normal(size=(2, 40)), clusters, seed=i, rounds=500) for i in range(200)]
    assert 0.02 < np.mean(np.array(null) < 0.05) < 0.09
    assert 0.4 < np.mean(null) < 0.6
    assert sign_flip_test(generator.normal(size=40) + 2, generator.normal(size=40), clusters, seed=0) < 0.001


def test_shares_that_never_differ_have_wilsons_interval() -> None:
    assert cluster_bootstrap([0.0] * 10, list("aabbccddee"), seed=0) == pytest.approx((0.0, 0.4345), abs=1e-4)
    assert cluster_bootstrap([1.0], ["a"], seed=0) == pytest.approx((0.2065, 1.0), abs=1e-4)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert paired_gap([1.0] * 3, [0.0] * 3, list("abc"), seed=0) == (1.0, pytest.approx((-0.123, 1.0), abs=1e-3))
    assert paired_gap([1.0] * 3, [1.0] * 3, list("abc"), seed=0) == (0.0, (0.0, 0.0))
