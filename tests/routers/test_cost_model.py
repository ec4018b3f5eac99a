"""Predicted costs: a ridge on costs or on their logarithms, smeared back into means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SkRidge

from erp.errors import ErpError
from erp.routers.base import Batch, Features
from erp.routers.cost_model import CostModel
from erp.routers.ridge import RELATIVE_ALPHAS


def batches(x, costs, size=1000):
    """Features (n, d) and costs (n, M) as training gives them."""
    for at in range(0, len(x), size):
        part = torch.from_numpy(np.asarray(costs[at : at + size], dtype=np.float64))
        nothing = torch.zeros(len(part), dtype=torch.int64)
        features = Features(torch.from_numpy(np.asarray(x[at : at + size], dtype=np.float32)), nothing)
        yield Batch(features, part, nothing, part, None, part, nothing, nothing)


def fitted(x, costs, validation, head=None, size=1000):
    model = CostModel(head)
    model.fit(list(batches(x, costs, size)), list(batches(*validation, size)))
    return model


def predicted(model, x):
    return model.costs(torch.from_numpy(np.asarray(x, dtype=np.float32))).numpy()


def drawn(n, seed, noise=0.5, members=3, d=4):
    """Lengths as answers have them: their logarithms are linear in x, and normal about it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    slopes = np.random.default_rng(7).normal(size=(d, members))
    return x, np.exp(4 + x @ slopes + noise * rng.normal(size=(n, members)))


def test_duans_estimate_by_hand():
    """Two prompts at x = 0 of costs 1 and 9, two at x = 1 of 4 and 36; validation is exactly what that predicts.

    Logarithms are means of log 3 and log 12 there, with residuals of -log 3 and log 3: the smearing is (1/3 + 3) / 2 =
    5/3, and the predictions are 5 and 20, the means of the costs, in place of 3 and 12.
    """
    x, costs = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[1.0], [9.0], [4.0], [36.0]])
    model = fitted(x, costs, (np.array([[0.0], [1.0]]), np.array([[5.0], [20.0]])), "log")
    np.testing.assert_allclose(predicted(model, [[0.0], [1.0]]), [[5.0], [20.0]], rtol=1e-4)  # of the least penalty
    assert model.heads == ["log"]
    assert float(model.log_error) < 1e-4
    # What lies outside of what train has seen is not believed.
    np.testing.assert_allclose(predicted(model, [[-9.0], [9.0]]), [[1.0], [36.0]], rtol=1e-12)


@pytest.mark.parametrize("size", [1000, 7])
def test_the_logarithmic_head_is_sklearns_ridge_smeared_by_numpy(size):
    (x, costs), (xv, cv), (xt, _) = drawn(80, 0), drawn(40, 1), drawn(200, 2)
    costs[::9, 1] = np.nan
    model = fitted(x, costs, (xv, cv), "log", size)
    alpha = float(model.alpha)
    step = RELATIVE_ALPHAS[1] / RELATIVE_ALPHAS[0]
    grid = np.array([alpha / step, alpha, alpha * step])  # the one that was chosen, and its neighbours
    found = np.zeros((3, len(xt), 3))
    errors = np.zeros((3, 3))
    for member in range(3):
        known = np.isfinite(costs[:, member])
        for i, a in enumerate(grid):
            log = np.log(costs[known, member])
            ridge = SkRidge(alpha=a).fit(x[known].astype(float), log)
            factor = np.mean(np.exp(log - ridge.predict(x[known].astype(float))))
            within = costs[known, member].min(), costs[known, member].max()
            found[i, :, member], on_validation = (
                np.clip(factor * np.exp(ridge.predict(z.astype(float))), *within) for z in (xt, xv)
            )
            about = ((cv[:, member] - costs[known, member].mean()) ** 2).sum()
            errors[i, member] = ((cv[:, member] - on_validation) ** 2).sum() / about
    np.testing.assert_allclose(predicted(model, xt), found[1], rtol=1e-6)
    assert float(model.log_error) == pytest.approx(errors[1].mean(), rel=1e-6)
    assert errors.mean(axis=1).argmin() == 1


def test_validation_chooses_the_head_that_errs_less():
    of_logs = fitted(*drawn(300, 0), drawn(150, 1))
    assert of_logs.heads == ["log"] * 3
    assert float(of_logs.log_error) < float(of_logs.linear_error) < 1

    def linear(n, seed):
        rng = np.random.default_rng(seed)
        x = rng.uniform(size=(n, 2))
        return x, 1 + 10 * x @ np.array([[1.0, 3.0], [2.0, 1.0]]) + rng.uniform(size=(n, 2))

    of_sums = fitted(*linear(300, 0), linear(150, 1))
    assert of_sums.heads == ["linear", "linear"]
    assert float(of_sums.linear_error) < float(of_sums.log_error)


def test_where_prompts_tell_nothing_a_cost_is_the_train_mean():
    """Costs on validation fall where those of train rise: no ridge errs less than the mean."""
    x = np.linspace(0, 1, 40)[:, None]
    costs = 10 + 5 * x
    model = fitted(x, costs, (x, 10 + 5 * (1 - x)))
    assert model.heads == ["mean"]
    np.testing.assert_allclose(predicted(model, [[0.0], [0.5], [30.0]]), costs.mean(), rtol=1e-12)
    assert float(model.linear_error) >= 1
    assert fitted(x, costs, (x, 10 + 5 * (1 - x)), "linear").heads == ["linear"]


def test_who_is_free_has_no_logarithms_and_stays_linear():
    (x, costs), (xv, cv) = drawn(120, 0), drawn(60, 1)
    costs[:, 1], cv[:, 1] = 0.0, 0.0
    costs[0, 2] = 0.0  # an answer without a word
    model = fitted(x, costs, (xv, cv), "log")
    assert [model.heads[0], model.heads[2]] == ["log", "linear"]
    found = predicted(model, xv)
    np.testing.assert_array_equal(found[:, 1], 0.0)
    np.testing.assert_allclose(found[:, 2], predicted(fitted(x, costs, (xv, cv), "linear"), xv)[:, 2], rtol=1e-12)


def test_logarithms_of_nothing_are_refused():
    x = np.linspace(0, 1, 10)[:, None]
    with pytest.raises(ErpError, match=r"^cost.head = log: no member's costs are all above 0 .*; give one of these$"):
        fitted(x, np.zeros((10, 2)), (x, np.zeros((10, 2))), "log")
    assert fitted(x, np.zeros((10, 2)), (x, np.zeros((10, 2)))).heads == ["mean", "mean"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(3, 30), st.floats(1e-6, 1e12), st.floats(0, 3), st.floats(1, 1000),
    st.booleans(),
)  # fmt: skip
def test_predictions_of_logarithms_are_positive_and_finite_whatever_is_asked(seed, n, unit, noise, far, alone):
    (x, costs), validation = drawn(n, seed, noise), drawn(1 if alone else n, seed + 1, noise)
    model = fitted(x, unit * costs, (validation[0], unit * validation[1]), "log")
    found = predicted(model, far * drawn(20, seed + 2)[0])
    assert np.isfinite(found).all()
    assert (found > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(1e-9, 1e15), min_size=1, max_size=4), st.sampled_from(["log", None]))
def test_constant_costs_are_predicted_as_they_are(seed, constants, head):
    rng = np.random.default_rng(seed)
    x, costs = rng.normal(size=(12, 3)), np.tile(constants, (12, 1))
    model = fitted(x, costs, (x, costs), head)
    np.testing.assert_allclose(predicted(model, rng.normal(size=(5, 3))), costs[:5], rtol=1e-9)
