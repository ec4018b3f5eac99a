import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import r2_score, roc_auc_score

from erp.errors import ErpError
from erp.metrics.discrimination import auc, kendall_tau, pairwise_order_accuracy, r2_of_differences, top1_accuracy
from tests.metrics.worked import worked_example


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


def test_r2_of_differences_equals_scikit_learn_pair_by_pair():
    rng = np.random.default_rng(2)
    predicted, observed = rng.normal(size=(50, 5)), rng.normal(size=(50, 5)) * [1, 2, 3, 4, 1e4] + 1e3
    observed[rng.random(observed.shape) < 0.2] = np.nan
    each, pooled = r2_of_differences(predicted, observed)
    errors = squares = 0.0
    for a, b in itertools.combinations(range(5), 2):
        truth, guess = observed[:, a] - observed[:, b], predicted[:, a] - predicted[:, b]
        seen = ~np.isnan(truth)
        assert each[a, b] == each[b, a] == pytest.approx(r2_score(truth[seen], guess[seen]), rel=1e-9)
        errors += ((truth - guess)[seen] ** 2).sum()
        squares += ((truth[seen] - truth[seen].mean()) ** 2).sum()
    assert np.isnan(np.diag(each)).all()
    assert pooled == pytest.approx(1 - errors / squares, rel=1e-12)


def test_difficulty_that_all_members_share_explains_no_difference():
    samples, predicted = worked_example(4000, 8)
    observed = samples.mean(axis=2)
    assert r2_of_differences(predicted, observed)[1] == pytest.approx(0.3177, abs=0.02)  # the method's table
    shifted = observed + np.random.default_rng(3).normal(0, 50, (4000, 1))
    assert r2_of_differences(predicted, shifted)[1] == pytest.approx(r2_of_differences(predicted, observed)[1])
    assert r2_of_differences(observed.mean(axis=1, keepdims=True).repeat(5, 1), observed)[1] <= 0


def test_r2_of_differences_of_what_does_not_vary():
    # 0 and 1 are apart by .1 everywhere, but for rounding; 2 was seen once.
    observed = np.array([[0.1, 0.2, 1.0], [0.3, 0.4, np.nan], [0.7, 0.8, np.nan]])
    each, pooled = r2_of_differences(observed, observed)
    assert np.isnan(each).all()
    assert np.isnan(pooled)
    each, pooled = r2_of_differences(np.zeros((3, 1)), np.arange(3.0)[:, None])
    assert np.isnan(each).all()
    assert each.shape == (1, 1)
    assert np.isnan(pooled)
    assert np.isnan(r2_of_differences(np.zeros((0, 2)), np.zeros((0, 2)))[1])
    # Worked by hand: differences 0 and 2, of which 1 is predicted each time: SSE 2, SST 2; a constant pair adds errors.
    observed = np.array([[0.0, 0.0], [2.0, 0.0]])
    assert r2_of_differences(np.array([[1.0, 0.0], [1.0, 0.0]]), observed)[1] == 0.0
    predicted = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 1.0]])
    observed = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    each, pooled = r2_of_differences(predicted, observed)
    assert each[0].tolist()[1:] == [1.0, 0.5]
    assert np.isnan(each[1, 2])
    assert pooled == 1 - (0 + 1 + 1) / (2 + 2)
    # A pair that was seen once has no R^2, and its error does not count.
    once = np.array([[0.0, 9.0], [2.0, np.nan]])
    each, pooled = r2_of_differences(np.zeros((2, 3)), np.column_stack([observed[:, :2], once[:, 1]]))
    assert np.isnan(each[:2, 2]).all()
    assert pooled == each[0, 1] == 1 - 4 / 2


def brute_tau(predicted, observed):
    taus = []
    for p, o in zip(predicted, observed, strict=True):
        seen = ~np.isnan(o)
        if seen.sum() < 2 or len(set(o[seen])) == 1:
            continue
        taus.append(kendalltau(p[seen], o[seen]).statistic if len(set(p[seen])) > 1 else 0.0)
    return np.mean(taus)


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_kendall_equals_scipy_with_ties_and_missing_cells(levels):
    rng = np.random.default_rng(4)
    predicted, observed = (rng.integers(0, levels, (80, 5)).astype(float) for _ in range(2))
    observed[rng.random(observed.shape) < 0.3] = np.nan
    assert kendall_tau(predicted, observed) == pytest.approx(brute_tau(predicted, observed), rel=1e-12)
    order = rng.permutation(5)
    assert kendall_tau(predicted[:, order], observed[:, order]) == pytest.approx(kendall_tau(predicted, observed))
    assert kendall_tau(-predicted, observed) == pytest.approx(-kendall_tau(predicted, observed))


def test_kendall_at_its_ends():
    observed = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    assert kendall_tau(observed * 2, observed) == 1.0
    assert kendall_tau(-observed, observed) == -1.0
    assert kendall_tau(np.zeros((2, 3)), observed) == 0.0
    # A prompt without an order is left out, one without scores that differ counts 0.
    assert kendall_tau(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), observed) == 0.5
    assert kendall_tau(observed, np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])) == 1.0
    assert kendall_tau(observed, np.array([[1.0, 2.0, 3.0], [5.0, np.nan, np.nan]])) == 1.0
    assert np.isnan(kendall_tau(np.zeros((2, 3)), np.zeros((2, 3))))
    assert np.isnan(kendall_tau(np.zeros((2, 1)), np.arange(2.0)[:, None]))
    assert np.isnan(kendall_tau(np.zeros((0, 3)), np.zeros((0, 3))))


def test_shapes_that_differ_are_refused():
    for metric in (kendall_tau, r2_of_differences):
        with pytest.raises(ErpError, match="predicted = array of shape"):
            metric(np.zeros((2, 2)), np.zeros((2, 3)))


def test_auc_is_scikit_learns_over_all_responses():
    rng = np.random.default_rng(4)
    predicted = rng.integers(0, 6, (50, 4)) / 10
    count = rng.integers(0, 5, (50, 4))
    count[:, 3] = 1
    right = rng.binomial(count, 0.3 + 0.4 * predicted)
    right[:, 2] = 0
    mean = np.where(count > 0, right / np.maximum(count, 1), np.nan)
    found = auc(predicted, mean, count)
    for m in (0, 1, 3):
        scores = np.repeat(predicted[:, m], count[:, m])
        answers = np.concatenate([np.arange(k) < r for k, r in zip(count[:, m], right[:, m], strict=True)])
        assert found[m] == pytest.approx(roc_auc_score(answers, scores), rel=1e-12)
    assert np.isnan(found[2])


def test_auc_by_hand():
    # Right at .5 and .9, wrong at .5, .1: one tie of four pairs, the others in order.
    found = auc(np.array([[0.5], [0.9], [0.5], [0.1]]), np.array([[1.0], [1.0], [0.0], [0.0]]), np.ones((4, 1), int))
    assert found.tolist() == [3.5 / 4]
