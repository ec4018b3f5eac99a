"""scikit-learn's Ridge is the judge, fitted member by member on the rows that member has."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Judge

from erp.errors import ErpError
from erp.routers.ridge import RELATIVE_ALPHAS, Ridge
from tests.routers.problems import problem, scores

ALPHAS = [1e-3, 0.1, 1.0, 10.0, 300.0]


def judges(train, alpha):
    """One scikit-learn model per member, on its own rows, in float64."""
    x = train.embedding.astype(np.float64)
    present = ~np.isnan(train.rewards)
    return [Judge(alpha=alpha).fit(x[p], y[p]) for p, y in zip(present.T, train.rewards.T, strict=True)]


def judged(train, alpha, part):
    x = part.embedding.astype(np.float64)
    return np.stack([judge.predict(x) for judge in judges(train, alpha)], axis=1)


def squared_error(train, alpha, validation):
    return np.nansum((judged(train, alpha, validation) - validation.rewards) ** 2)


def fitted(train, validation, alphas=None, size=None):
    router = Ridge(alphas)
    router.fit(train.batches(size), validation.batches(size))
    return router


@pytest.mark.parametrize("missing", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_equals_scikit_learn_at_the_same_alpha(alpha, missing):
    train, validation, test = problem(missing=missing)
    router = fitted(train, validation, [alpha], size=40)
    models = judges(train, alpha)
    np.testing.assert_allclose(router.weight.numpy(), np.stack([m.coef_ for m in models], axis=1), rtol=1e-9)
    np.testing.assert_allclose(router.intercept.numpy(), [m.intercept_ for m in models], rtol=1e-9)
    np.testing.assert_allclose(scores(router, test), judged(train, alpha, test), rtol=1e-9)


def test_large_weights_that_cancel_are_no_trouble():
    train, validation, test = problem(d=12)
    train.embedding[:, 1] = train.embedding[:, 0] + 1e-4 * train.embedding[:, 1]
    test.embedding[:, 1] = test.embedding[:, 0] + 1e-4 * test.embedding[:, 1]
    router = fitted(train, validation, [1e-9])
    assert router.weight.abs().max() > 100
    np.testing.assert_allclose(scores(router, test), judged(train, 1e-9, test), rtol=0, atol=1e-6)


def test_features_and_rewards_far_from_zero_are_no_trouble():
    train, validation, test = problem(missing=0.1)
    for part in (train, validation, test):
        part.embedding[:] += 100
        part.rewards[:] += 10_000
    router = fitted(train, validation, ALPHAS)
    errors = [squared_error(train, alpha, validation) for alpha in ALPHAS]
    assert float(router.alpha) == ALPHAS[int(np.argmin(errors))]
    np.testing.assert_allclose(scores(router, test), judged(train, float(router.alpha), test), rtol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_the_best_of_the_grid_on_validation(seed, missing):
    train, validation, _ = problem(seed, sizes=(40, 30, 5), missing=missing)
    grid = list(np.logspace(-3, 2, 12))
    errors = [squared_error(train, alpha, validation) for alpha in grid]
    router = fitted(train, validation, grid[::-1], size=16)
    assert router.chosen() == {"alpha": grid[int(np.argmin(errors))]}


def test_seeds_above_choose_different_alphas():
    """Or the test above could not fail."""
    chosen = set()
    for seed in range(5):
        train, validation, _ = problem(seed, sizes=(40, 30, 5))
        chosen.add(fitted(train, validation, list(np.logspace(-3, 2, 12))).chosen()["alpha"])
    assert len(chosen) > 1


def test_the_default_grid_is_relative_to_the_features():
    train, validation, _ = problem(sizes=(40, 30, 5))
    x = train.embedding.astype(np.float64)
    alphas = RELATIVE_ALPHAS * ((x - x.mean(axis=0)) ** 2).sum() / x.shape[1]  # trace = sum of eigenvalues
    errors = [squared_error(train, alpha, validation) for alpha in alphas]
    assert 0 < int(np.argmin(errors)) < len(alphas) - 1
    assert fitted(train, validation).chosen()["alpha"] == pytest.approx(alphas[int(np.argmin(errors))], rel=1e-9)


@pytest.mark.parametrize("rows", [slice(80, 81), slice(80, 150), slice(0, 1), slice(0, 80)])
def test_members_part_in_whichever_batch_they_first_differ(rows):
    train, validation, test = problem()
    train.rewards[rows, 1] = np.nan
    train.rewards[100:120, 2] = np.nan
    router = fitted(train, validation, [1.0], size=80)
    np.testing.assert_allclose(scores(router, test), judged(train, 1.0, test), rtol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batch_size_and_order_of_rows_do_not_matter(size, missing):
    train, validation, test = problem(missing=missing)
    shuffled = np.random.default_rng(1).permutation(len(train))
    router = fitted(train.take(shuffled), validation, ALPHAS, size)
    np.testing.assert_allclose(scores(router, test), scores(fitted(train, validation, ALPHAS), test), rtol=1e-9)


def test_one_member():
    train, validation, test = problem(members=1)
    np.testing.assert_allclose(scores(fitted(train, validation, [1.0]), test), judged(train, 1.0, test), rtol=1e-9)


@pytest.mark.parametrize("member", [0, 2])
def test_a_member_without_any_reward_leaves_the_others_as_they_are(member):
    train, validation, test = problem()
    others = np.delete(np.arange(4), member)
    train.rewards[:, member] = np.nan
    router = fitted(train, validation, [1.0], size=50)
    np.testing.assert_allclose(scores(router, test)[:, others], judged(train.members(others), 1.0, test), rtol=1e-9)
    others_mean = np.nanmean(train.rewards)  # of a member that nobody scored nothing is known but its company
    np.testing.assert_allclose(scores(router, test)[:, member], others_mean)


def test_constant_rewards_are_predicted_as_they_are():
    train, validation, test = problem()
    router = fitted(train.with_rewards(np.full_like(train.rewards, 0.3)), validation)
    np.testing.assert_allclose(scores(router, test), 0.3, rtol=1e-9)


def test_one_train_prompt_predicts_its_own_rewards_everywhere():
    train, validation, test = problem()
    router = fitted(train.take(np.arange(1)), validation)
    np.testing.assert_allclose(scores(router, test), np.repeat(train.rewards[:1], len(test), axis=0), rtol=1e-9)


def test_more_features_than_prompts():
    train, validation, test = problem(sizes=(20, 20, 20), d=64)
    np.testing.assert_allclose(scores(fitted(train, validation, [0.1]), test), judged(train, 0.1, test), rtol=1e-8)


@pytest.mark.parametrize("alphas", [[], [1.0, 0.0], [-1.0]])
def test_alphas_that_cannot_be(alphas):
    with pytest.raises(ErpError, match=r"router\.alphas = .*above 0"):
        Ridge(alphas)


def test_no_train_prompt_is_an_error_in_words():
    _, validation, _ = problem()
    with pytest.raises(ErpError, match="no prompt is left to train on"):
        Ridge().fit([], validation.batches())


def test_the_batches_it_was_given_are_left_as_they_were():
    train, validation, _ = problem(missing=0.2)
    before = train.embedding.copy(), train.rewards.copy()
    fitted(train, validation)
    np.testing.assert_array_equal(train.embedding, before[0])
    np.testing.assert_array_equal(train.rewards, before[1])
