import numpy as np
import pytest
from sklearn.metrics import r2_score, root_mean_squared_error

from erp.errors import ErpError
from erp.metrics.prediction import r2, r2_pooled, rmse


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
