"""scikit-learn's KernelRidge on a centred kernel, and its Nystroem with its Ridge, are the judges."""

import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge as Judge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer

from erp.errors import ErpError
from erp.routers.kernel_ridge import BLOCK, KernelRidge
from tests.routers.problems import problem, scores

ONE = {"gammas": [1.5], "alphas": [0.2], "category_weights": [0.7]}


def kernel(part, other, gamma, w):
    x, y = part.embedding.astype(np.float64), other.embedding.astype(np.float64)
    same = [[a == b and a >= 0 for b in other.category] for a in part.category]
    return rbf_kernel(x, y, gamma=gamma) + w * np.array(same)


def judged(train, part, gamma, alpha, w=0.0):
    """One scikit-learn model per member on its own rows; centring leaves the intercept unpenalised."""
    found = []
    for y in train.rewards.T:
        own = train.take(np.flatnonzero(~np.isnan(y)))
        y = y[~np.isnan(y)]
        center = KernelCenterer().fit(kernel(own, own, gamma, w))
        model = Judge(alpha=alpha, kernel="precomputed")
        model.fit(center.transform(kernel(own, own, gamma, w)), y - y.mean())
        found.append(model.predict(center.transform(kernel(part, own, gamma, w))) + y.mean())
    return np.stack(found, axis=1)


def fitted(train, validation, size=None, **options):
    router = KernelRidge(**{**ONE, **options})
    router.fit(train.batches(size), validation.batches(size))
    return router


def with_unknown_categories(parts):
    for part in parts:
        part.category[::4] = -1
    return parts


@pytest.mark.parametrize("missing", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("gamma", [0.1, 4.0])
def test_equals_scikit_learn_at_the_same_setting(gamma, alpha, missing):
    train, validation, test = problem(missing=missing)
    router = fitted(train, validation, size=40, gammas=[gamma], alphas=[alpha], exact_up_to=1000)
    np.testing.assert_allclose(scores(router, test), judged(train, test, gamma, alpha), rtol=1e-8, atol=1e-9)
    assert router.chosen() == {"gamma": gamma, "alpha": alpha}
    assert not router.reads_category


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("w", [0.1, 5.0])
def test_equals_scikit_learn_with_categories_some_of_them_unknown(w, missing):
    train, validation, test = with_unknown_categories(problem(missing=missing))
    router = fitted(train, validation, use_category=True, category_weights=[w], exact_up_to=1000)
    np.testing.assert_allclose(scores(router, test), judged(train, test, 1.5, 0.2, w), rtol=1e-8)
    assert router.chosen() == {"gamma": 1.5, "alpha": 0.2, "category_weight": w}
    assert router.reads_category


def test_without_use_category_the_category_is_not_read():
    train, validation, test = problem()
    router = fitted(train, validation)
    found = scores(router, test)
    test.category[:] = 99
    np.testing.assert_array_equal(scores(router, test), found)


@pytest.mark.parametrize("use_category", [False, True])
@pytest.mark.parametrize("exact_up_to", [1000, 1])
@pytest.mark.parametrize("seed", range(3))
def test_the_setting_is_the_best_on_validation(seed, exact_up_to, use_category):
    train, validation, test = problem(seed, sizes=(60, 40, 30), missing=0.2)
    ws = (0.02, 0.3, 4.0) if use_category else (0.0,)
    settings = [(gamma, w, alpha) for gamma in (0.1, 1.0, 4.0) for w in ws for alpha in (0.003, 0.05, 1.0)]
    common = {"use_category": use_category, "exact_up_to": exact_up_to, "landmarks": 25}

    def of(gammas, weights, alphas):
        weights = weights if use_category else [1.0]
        options = {"gammas": gammas, "category_weights": weights, "alphas": alphas}
        return fitted(train, validation, size=17, **common, **options)

    alone = [of(*([value] for value in setting)) for setting in settings]
    errors = [np.nansum((scores(router, validation) - validation.rewards) ** 2) for router in alone]
    best = int(np.argmin(errors))
    router = of([4.0, 1.0, 0.1], list(ws[::-1]), [1.0, 0.05, 0.003])
    assert router.chosen() == alone[best].chosen()
    np.testing.assert_allclose(scores(router, test), scores(alone[best], test), rtol=1e-9)


def test_problems_above_choose_different_settings():
    options = {"gammas": [0.1, 1.0, 4.0], "category_weights": [0.02, 0.3, 4.0], "alphas": [0.003, 0.05, 1.0]}
    parts = [problem(seed, sizes=(60, 40, 30), missing=0.2) for seed in range(3)]
    chosen = [fitted(*p[:2], use_category=True, exact_up_to=n, landmarks=25, **options).chosen()
              for p in parts for n in (1, 1000)]  # fmt: skip
    assert len({tuple(choice.values()) for choice in chosen}) > 1


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_landmarks_equal_scikit_learns_nystroem(alpha, missing):
    train, validation, test = problem(missing=missing)
    router = fitted(train, validation, size=40, alphas=[alpha], exact_up_to=1, landmarks=30)
    landmarks = router.embedding.numpy()
    assert landmarks.shape == (30, 12)
    features = Nystroem(gamma=1.5, n_components=30).fit(landmarks)
    x = features.transform(train.embedding.astype(np.float64))
    present = ~np.isnan(train.rewards)
    models = [Ridge(alpha=alpha).fit(x[p], y[p]) for p, y in zip(present.T, train.rewards.T, strict=True)]
    expected = np.stack([m.predict(features.transform(test.embedding.astype(np.float64))) for m in models], axis=1)
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-7)


@pytest.mark.parametrize("use_category", [False, True])
@pytest.mark.parametrize("gamma", [1e-6, 0.1, 1.5])  # the smaller, the more alike: some eigenvalues are rounding alone
def test_all_prompts_as_landmarks_are_the_exact_solution(gamma, use_category):
    train, validation, test = with_unknown_categories(problem(missing=0.2))
    options = {"gammas": [gamma], "alphas": [1e-3], "use_category": use_category}
    exact = fitted(train, validation, exact_up_to=1000, **options)
    spanned = fitted(train, validation, exact_up_to=1, landmarks=10**6, **options)
    np.testing.assert_allclose(scores(spanned, test), scores(exact, test), rtol=1e-7, atol=1e-7)


def test_landmarks_are_different_train_prompts_whatever_their_order():
    train, validation, _ = problem()
    train = train.take(np.repeat(np.arange(40), 4))
    router = fitted(train, validation, exact_up_to=1, landmarks=30, use_category=True)
    kept = router.embedding.numpy()
    at = [int(np.flatnonzero((train.embedding == row).all(axis=1))[0]) for row in kept.astype(np.float32)]
    assert len(set(at)) == 30
    np.testing.assert_array_equal(router.category.numpy(), train.category[at])
    shuffled = fitted(train.take(np.random.default_rng(0).permutation(160)), validation, exact_up_to=1, landmarks=30)
    other = fitted(train, validation, exact_up_to=1, landmarks=30, seed=1)
    np.testing.assert_array_equal(fitted(train, validation, exact_up_to=1, landmarks=30).embedding, shuffled.embedding)
    assert not np.array_equal(other.embedding, shuffled.embedding)
    assert len(fitted(train, validation, exact_up_to=1, landmarks=50).embedding) == 40


@pytest.mark.parametrize(("exact_up_to", "exact"), [(160, True), (159, False)])
def test_the_limit_of_the_exact_solution_is_in_prompts(exact_up_to, exact):
    train, validation, _ = problem()
    router = fitted(train, validation, exact_up_to=exact_up_to, landmarks=20)
    assert len(router.embedding) == (160 if exact else 20)


@pytest.mark.parametrize(("exact_up_to", "exact"), [(181, False), (182, True)])
def test_patterns_of_missing_cells_count_towards_the_limit(exact_up_to, exact):
    train, validation, _ = problem()
    train.rewards[:36, 1] = np.nan  # 160^3 + 124^3 = 181.3^3
    train.rewards[:, 3] = train.rewards[:, 1]
    router = fitted(train, validation, exact_up_to=exact_up_to, landmarks=20)
    assert len(router.embedding) == (160 if exact else 20)


def test_queries_beyond_one_block_and_singles_agree():
    train, validation, test = problem()
    many = test.take(np.arange(BLOCK + 3) % len(test))
    router = fitted(train, validation, use_category=True)
    whole = scores(router, many)
    np.testing.assert_allclose(whole, judged(train, many, 1.5, 0.2, 0.7), rtol=1e-8)
    singles = np.concatenate([scores(router, many.take(np.array([i]))) for i in range(len(test))])
    np.testing.assert_allclose(singles, whole[: len(test)], rtol=1e-9)


def test_rewards_far_from_zero_are_no_trouble():
    train, validation, test = problem(missing=0.1)
    for part in (train, validation):
        part.rewards[:] += 1e6
    found = scores(fitted(train, validation), test)
    train.rewards[:] -= 1e6
    np.testing.assert_allclose(found - 1e6, judged(train, test, 1.5, 0.2), atol=1e-6)


@pytest.mark.parametrize("exact_up_to", [1000, 1])
def test_constant_rewards_one_prompt_and_an_empty_validation(exact_up_to):
    train, validation, test = problem()
    flat = fitted(train.with_rewards(np.full_like(train.rewards, 0.3)), validation, exact_up_to=exact_up_to)
    np.testing.assert_allclose(scores(flat, test), 0.3, rtol=1e-9)
    router = KernelRidge(exact_up_to=exact_up_to)
    router.fit([*train.take(np.arange(1)).batches(), *train.take(np.zeros(1, dtype=int)).batches()], [])
    np.testing.assert_allclose(scores(router, test), np.repeat(train.rewards[:1], len(test), axis=0), rtol=1e-9)


@pytest.mark.parametrize("exact_up_to", [1000, 1])
def test_a_member_without_any_reward_is_predicted_the_mean_of_the_pool(exact_up_to):
    train, validation, test = problem()
    train.rewards[:, 1] = np.nan
    options = {"exact_up_to": exact_up_to, "landmarks": 1000}
    found = scores(fitted(train, validation, **options), test)
    np.testing.assert_allclose(found[:, 1], np.nanmean(train.rewards))
    others = judged(train.members(np.array([0, 2, 3])), test, 1.5, 0.2)
    np.testing.assert_allclose(found[:, [0, 2, 3]], others, rtol=1e-7)


def test_prompts_without_words_are_no_trouble():
    train, validation, test = problem()
    for part in (train, test):
        part.embedding[:2] = 0
    np.testing.assert_allclose(scores(fitted(train, validation), test), judged(train, test, 1.5, 0.2), rtol=1e-8)


def test_a_penalty_lost_in_rounding_is_an_error_in_words():
    train, validation, _ = problem()
    twice = train.take(np.repeat(np.arange(80), 2))
    with pytest.raises(ErpError, match=r"router\.alphas = 1e-30: is too small"):
        fitted(twice, validation, alphas=[1e-30, 1.0])


def test_the_batches_it_was_given_are_left_as_they_were():
    train, validation, _ = problem(missing=0.2)
    before = train.embedding.copy(), train.rewards.copy()
    fitted(train, validation, gammas=[0.5, 1.0])
    np.testing.assert_array_equal(train.embedding, before[0])
    np.testing.assert_array_equal(train.rewards, before[1])


@pytest.mark.parametrize("key", ["gammas", "alphas", "category_weights"])
@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0], [float("nan")], [float("inf")]])
def test_candidates_that_cannot_be(key, values):
    with pytest.raises(ErpError, match=rf"router\.{key} = .*above 0"):
        KernelRidge(**{key: values})


@pytest.mark.parametrize("key", ["exact_up_to", "landmarks"])
def test_sizes_that_cannot_be(key):
    with pytest.raises(ErpError, match=rf"router\.{key} = 0: give 1 or more"):
        KernelRidge(**{key: 0})


def test_a_seed_that_cannot_be():
    with pytest.raises(ErpError, match=r"router\.seed = -1: .*from 0"):
        KernelRidge(seed=-1)


def test_scores_are_float64():
    train, validation, test = problem()
    assert fitted(train, validation).scores(test.features()).dtype == torch.float64
