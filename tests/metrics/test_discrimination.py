import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from erp.metrics.discrimination import pairwise_order_accuracy, top1_accuracy


def brute_pairs(predicted, observed):
    points = []
    for p, o in zip(predicted, observed, strict=True):
        for a, b in itertools.combinations(range(len(p)), 2):
            if not np.isnan(o[a] + o[b]) and o[a] != o[b]:
                points.append((1 + np.sign((p[a] - p[b]) * (o[a] - o[b]))) / 2)
    return np.mean(points)


def test_pairs_equal_brute_force_with_ties_and_missing_cells():
    rng = np.random.default_rng(0)
    predicted, observed = (rng.integers(0, 4, (60, 5)).astype(float) for _ in range(2))
    observed[rng.random(observed.shape) < 0.2] = np.nan
    assert pairwise_order_accuracy(predicted, observed) == pytest.approx(brute_pairs(predicted, observed), rel=1e-12)
    order = rng.permutation(5)
    assert pairwise_order_accuracy(predicted[:, order], observed[:, order]) == pairwise_order_accuracy(
        predicted, observed
    )


def test_pairs_are_kendalls_tau_where_nothing_ties():
    rng = np.random.default_rng(1)
    predicted, observed = rng.normal(size=(30, 6)), rng.normal(size=(30, 6))
    tau = np.mean([kendalltau(p, o).statistic for p, o in zip(predicted, observed, strict=True)])
    assert pairwise_order_accuracy(predicted, observed) == pytest.approx((1 + tau) / 2, rel=1e-12)


def test_no_pair_to_order():
    assert np.isnan(pairwise_order_accuracy(np.ones((3, 2)), np.ones((3, 2))))
    assert np.isnan(pairwise_order_accuracy(np.ones((3, 1)), np.arange(3.0)[:, None]))
    assert pairwise_order_accuracy(np.ones((3, 2)), np.array([[0.0, 1.0]] * 3)) == 0.5


def test_top1_with_ties_and_missing_cells():
    observed = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [np.nan, 1.0, 0.0]])
    assert top1_accuracy(np.array([[0.0, 5.0, 1.0], [9.0, 9.0, 1.0], [9.0, 0.0, 0.0]]), observed) == 0.75
    assert np.isnan(top1_accuracy(observed[2:], observed[2:]))
    assert top1_accuracy(np.zeros((2, 3)), np.zeros((2, 3))) == 1.0
