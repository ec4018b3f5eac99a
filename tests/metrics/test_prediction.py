import numpy as np
import pytest
from scipy.stats import linregress, pearsonr, spearmanr
from sklearn.metrics import r2_score, root_mean_squared_error

from erp.errors import ErpError
from erp.metrics.prediction import binned_error, calibration, equal_bins, pearson, r2, r2_pooled, rmse, spearman


def table(seed=0, n=80, m=4, missing=0.2):
    rng = np.random.default_rng(seed)
    observed = rng.normal(size=(n, m)) * [1, 2, 3, 4][:m] + [0, 100, -5, 1e4][:m]
    predicted = observed + rng.normal(size=(n, m))
    observed[rng.random((n, m)) < missing] = np.nan
    return predicted, observed


def test_equals_scikit_learn_on_the_cells_there_are():
    predicted, observed = table()
    for m in range(4):
        seen = ~np.isnan(observed[:, m])
        assert r2(predicted, observed)[m] == pytest.approx(r2_score(observed[seen, m], predicted[seen, m]), rel=1e-12)
        assert rmse(predicted, observed)[m] == pytest.approx(
            root_mean_squared_error(observed[seen, m], predicted[seen, m]), rel=1e-12
        )


def test_pooled_does_not_count_differences_between_members_means():
    predicted, observed = table(missing=0)
    centre = observed.mean(axis=0)
    expected = r2_score((observed - centre).ravel(), (predicted - centre).ravel())
    assert r2_pooled(predicted, observed) == pytest.approx(expected, rel=1e-9)
    # Predicting each member's mean explains nothing, however far apart the means are.
    assert r2_pooled(np.broadcast_to(centre, observed.shape), observed) == pytest.approx(0.0, abs=1e-9)


def test_undefined_where_rewards_do_not_vary():
    observed = np.array([[0.1, 1.0, np.nan], [0.1, np.nan, np.nan], [0.1, np.nan, np.nan]])
    predicted = np.array([[0.1, 2.0, 0.0], [0.2, 0.0, 0.0], [0.1, 0.0, 0.0]])
    assert np.isnan(r2(predicted, observed)).all()
    assert np.isnan(r2_pooled(predicted, observed))
    assert rmse(predicted, observed)[:2] == pytest.approx([np.sqrt(0.01 / 3), 1.0])
    assert np.isnan(rmse(predicted, observed)[2])


def test_pooled_worked_by_hand():
    # Member 0: SSE 1, SST 2. Member 1: constant, SSE 1. Member 2: one cell, left out.
    observed = np.array([[0.0, 3.0, 9.0], [2.0, 3.0, np.nan]])
    predicted = np.array([[0.0, 3.0, 0.0], [1.0, 4.0, 0.0]])
    assert r2_pooled(predicted, observed) == 1 - 2 / 2
    assert r2(predicted, observed)[0] == 0.5


def test_permuting_members_permutes_results():
    predicted, observed = table(1)
    order = [2, 0, 3, 1]
    assert r2(predicted[:, order], observed[:, order]).tolist() == r2(predicted, observed)[order].tolist()


def test_no_prompts_and_shapes():
    assert np.isnan(r2(np.zeros((0, 2)), np.zeros((0, 2)))).all()
    with pytest.raises(ErpError, match="predicted = array of shape"):
        r2(np.zeros((2, 2)), np.zeros((2, 3)))


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_and_calibration_equal_scipy_on_the_cells_there_are(ties):
    predicted, observed = table(2)
    if ties:
        predicted, observed = np.round(predicted).astype(np.float32), np.round(observed)
    slope, intercept = calibration(predicted, observed)
    for m in range(4):
        seen = ~np.isnan(observed[:, m])
        x, y = predicted[seen, m].astype(float), observed[seen, m]
        line = linregress(x, y)
        assert pearson(predicted, observed)[m] == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
        assert spearman(predicted, observed)[m] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
        assert (slope[m], intercept[m]) == pytest.approx((line.slope, line.intercept), rel=1e-8)


def test_rank_correlation_keeps_to_the_order_alone():
    predicted, observed = table(3, missing=0)
    assert spearman(observed**3, observed) == pytest.approx(np.ones(4))
    assert spearman(-observed, observed) == pytest.approx(-np.ones(4))
    assert spearman(np.exp(predicted / 1e4), observed) == pytest.approx(spearman(predicted, observed))
    assert pearson(3 * predicted + 1, observed) == pytest.approx(pearson(predicted, observed))


def test_calibration_finds_the_line_that_predictions_were_bent_by():
    _, observed = table(4, missing=0)
    slope, intercept = calibration((observed - 3) / 2, observed)
    assert slope == pytest.approx(np.full(4, 2.0))
    assert intercept == pytest.approx(np.full(4, 3.0), abs=1e-6)
    slope, intercept = calibration(observed, np.full((80, 4), 0.1))  # rewards that do not vary do have a line
    assert slope == pytest.approx(np.zeros(4), abs=1e-12)
    assert intercept == pytest.approx(np.full(4, 0.1))


def test_correlations_of_what_does_not_vary_are_undefined():
    # Constant predictions; constant rewards; one observation; none.
    predicted = np.array([[0.1, 1.0, 5.0, 0.0], [0.1, 2.0, 6.0, 1.0], [0.1, 3.0, 7.0, 2.0]])
    observed = np.array([[1.0, 0.1, 1.0, np.nan], [2.0, 0.1, np.nan, np.nan], [4.0, 0.1, np.nan, np.nan]])
    assert np.isnan(pearson(predicted, observed)).all()
    assert np.isnan(spearman(predicted, observed)).all()
    assert np.isnan(calibration(predicted, observed)).tolist() == [[True, False, True, True]] * 2
    assert np.isnan(binned_error(predicted, observed)).tolist() == [False, False, False, True]


def brute_binned_error(predicted, observed, bins):
    """Bin by bin, over the prompts in order."""
    seen = ~np.isnan(observed)
    p, o = predicted[seen], observed[seen]
    place = np.array([sum(other < own for other in p) for own in p])
    total = 0.0
    for b in range(bins):
        inside = (place >= b * len(p) / bins) & (place < (b + 1) * len(p) / bins)
        if inside.any():
            total += inside.sum() * abs(o[inside].mean() - p[inside].mean())
    return total / len(p)


@pytest.mark.parametrize("bins", [1, 7, 10, 200])
def test_binned_error_equals_brute_force(bins):
    for digits in (0, 8):
        predicted, observed = table(5)
        predicted = np.round(predicted, digits)
        expected = [brute_binned_error(predicted[:, m], observed[:, m], bins) for m in range(4)]
        assert binned_error(predicted, observed, bins) == pytest.approx(expected, rel=1e-9)


def test_binned_error_worked_by_hand():
    predicted = np.array([[0.0], [0.0], [1.0], [1.0]])
    observed = np.array([[0.5], [0.5], [1.0], [0.0]])
    assert binned_error(predicted, observed, 2) == pytest.approx([0.5])
    assert binned_error(predicted, observed, 1) == [0.0]  # right on average
    assert binned_error(observed, observed, 2) == [0.0]
    assert binned_error(np.zeros((4, 1)), observed, 4) == pytest.approx([0.5])  # equal predictions share a bin


def test_bins_are_of_equal_size_and_ties_stay_together():
    assert equal_bins(np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0]), 3).tolist() == [2, 0, 2, 1, 1, 0]
    assert equal_bins(np.array([1.0, 1.0, 1.0, 2.0]), 2).tolist() == [0, 0, 0, 1]
    assert equal_bins(np.zeros(5), 10).tolist() == [0] * 5
    assert np.bincount(equal_bins(np.random.default_rng(6).normal(size=103), 10)).tolist() == [11, 10, 10] * 3 + [10]
    assert len(equal_bins(np.zeros(0), 10)) == 0
    with pytest.raises(ErpError, match="bins = 0"):
        equal_bins(np.zeros(3), 0)


def test_new_metrics_refuse_shapes_that_differ_and_stand_no_prompts():
    for metric in (pearson, spearman, calibration, binned_error):
        with pytest.raises(ErpError, match="predicted = array of shape"):
            metric(np.zeros((2, 2)), np.zeros((2, 3)))
        assert np.isnan(metric(np.zeros((0, 2)), np.zeros((0, 2)))).all()


def test_rounding_of_a_constant_is_no_variance():
    """Means of .1 over 1, 3 and 6 samples differ in their last bits."""
    observed = np.array([[np.mean([0.1] * k)] for k in (1, 3, 6, 7, 9)])
    assert len(np.unique(observed)) > 1
    predicted = np.linspace(0, 1, 5)[:, None]
    assert np.isnan(r2(predicted, observed)).all()
    assert np.isnan(pearson(predicted, observed)).all()
    assert np.isnan(spearman(predicted, observed)).all()
    assert np.isnan(r2_pooled(predicted, observed))
