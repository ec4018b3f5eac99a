"""scikit-learn's NearestNeighbors is the judge."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from erp.errors import ErpError
from erp.routers.knn import BLOCK, KNN
from tests.routers.problems import problem, scores


def judged(train, k, part):
    """Mean over the present cells of the k nearest by cosine; the member's train mean where none is present.

    Train prompts without any reward are no neighbours.
    """
    train = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))
    index = NearestNeighbors(n_neighbors=min(k, len(train)), metric="cosine", algorithm="brute")
    nearest = index.fit(train.embedding.astype(np.float64)).kneighbors(
        part.embedding.astype(np.float64), return_distance=False
    )
    cells = np.ma.masked_invalid(train.rewards[nearest])
    overall = np.ma.masked_invalid(train.rewards).mean(axis=0)
    return np.where(cells.mask.all(axis=1), overall, cells.mean(axis=1).filled(0))


def fitted(train, validation, size=None, **options):
    router = KNN(**options)
    router.fit(train.batches(size), validation.batches(size))
    return router


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_equals_scikit_learns_neighbours(k, missing):
    train, validation, test = problem(missing=missing)
    np.testing.assert_allclose(scores(fitted(train, validation, k=k), test), judged(train, k, test), rtol=1e-12)


def test_some_neighbourhoods_above_hold_no_reward_at_all():
    """Or the fall-back to the train mean would not be judged."""
    train, _, test = problem(missing=0.9)
    train = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))
    index = NearestNeighbors(n_neighbors=5, metric="cosine").fit(train.embedding)
    nearest = index.kneighbors(test.embedding, return_distance=False)
    assert np.isnan(train.rewards[nearest]).all(axis=1).any()


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_k_is_the_best_of_the_candidates_on_validation(seed, missing):
    train, validation, test = problem(seed, missing=missing)
    ks = (2, 3, 5, 9, 17, 60)
    errors = [np.nansum((judged(train, k, validation) - validation.rewards) ** 2) for k in ks]
    router = fitted(train, validation, size=23, ks=ks[::-1])
    assert router.chosen() == {"k": ks[int(np.argmin(errors))]}
    np.testing.assert_allclose(scores(router, test), judged(train, int(router.chosen()["k"]), test), rtol=1e-12)


@pytest.mark.parametrize("options", [{"k": 10**6}, {"ks": (5, 10**6)}])
def test_k_above_the_number_of_train_prompts_is_all_of_them(options):
    train, validation, test = problem(missing=0.2)
    noise = validation.with_rewards(np.broadcast_to(np.nanmean(train.rewards, axis=0), validation.rewards.shape).copy())
    router = fitted(train, noise, **options)  # validation asks for the mean: the largest k wins
    assert router.chosen() == {"k": (~np.isnan(train.rewards).all(axis=1)).sum()}
    overall = np.nanmean(train.rewards, axis=0)
    np.testing.assert_allclose(scores(router, test), np.broadcast_to(overall, test.rewards.shape), rtol=1e-12)


def test_queries_beyond_one_block_and_singles_agree():
    train, validation, test = problem()
    many = test.take(np.arange(BLOCK + 3) % len(test))
    router = fitted(train, validation, k=3)
    whole = scores(router, many)
    np.testing.assert_allclose(whole, judged(train, 3, many), rtol=1e-12)
    singles = np.concatenate([scores(router, many.take(np.array([i]))) for i in range(len(test))])
    np.testing.assert_allclose(singles, whole[: len(test)], rtol=1e-12)


def test_a_member_without_any_reward_is_predicted_zero():
    train, validation, test = problem()
    train.rewards[:, 1] = np.nan
    router = fitted(train, validation, k=5)
    assert (scores(router, test)[:, 1] == 0).all()
    np.testing.assert_allclose(
        scores(router, test)[:, [0, 2, 3]], judged(train.members(np.array([0, 2, 3])), 5, test), rtol=1e-12
    )


def test_one_train_prompt():
    train, validation, test = problem()
    router = fitted(train.take(np.arange(1)), validation)
    np.testing.assert_array_equal(scores(router, test), np.repeat(train.rewards[:1], len(test), axis=0))


@pytest.mark.parametrize("options", [{"k": 0}, {"k": -1}, {"ks": ()}, {"ks": (0, 5)}])
def test_numbers_of_neighbours_that_cannot_be(options):
    with pytest.raises(ErpError, match=r"router\.ks? = .*1 or more"):
        KNN(**options)


def test_a_prompt_without_words_gets_finite_scores():
    train, validation, test = problem()
    test.embedding[0] = 0
    assert torch.isfinite(fitted(train, validation, k=5).scores(test.features())).all()
