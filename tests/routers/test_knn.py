"""scikit-learn's NearestNeighbors is the judge."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from erp.errors import ErpError
from erp.formats.checkpoint import CHECKPOINT
from erp.routers.knn import KNN
from erp.routers.neighbours import BLOCK
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


def judged_by_weight(train, k, temperature, part):
    """Means over the k nearest, weighted by exp(cosine / temperature); the train mean where no cell is present."""
    index = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(train.embedding.astype(np.float64))
    nearest = index.kneighbors(part.embedding.astype(np.float64), return_distance=False)
    cells = train.rewards[nearest]
    cosine = np.take_along_axis(part.embedding.astype(np.float64) @ train.embedding.T, nearest, axis=1)
    weights = np.exp(cosine / temperature)[:, :, None] * ~np.isnan(cells)
    total = weights.sum(axis=1)
    means = np.nansum(weights * cells, axis=1) / np.where(total > 0, total, 1)
    return np.where(total > 0, means, np.nanmean(train.rewards, axis=0))


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("temperature", [0.05, 0.3, 4.0])
def test_weights_equal_those_on_scikit_learns_neighbours(temperature, missing):
    train, validation, test = problem(missing=missing)
    train = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))
    router = fitted(train, validation, k=5, temperature=temperature)
    np.testing.assert_allclose(scores(router, test), judged_by_weight(train, 5, temperature, test), rtol=1e-9)
    assert router.chosen() == {"k": 5, "temperature": temperature}


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_k_and_temperature_are_the_best_pair_on_validation(seed, missing):
    train, validation, test = problem(seed, missing=missing)
    ks, temperatures = (3, 9, 40), (None, 0.05, 0.2)
    kept = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))

    def of(k, tau, part):
        return judged(train, k, part) if tau is None else judged_by_weight(kept, k, tau, part)

    pairs = [(k, tau) for k in ks for tau in temperatures]
    k, tau = min(pairs, key=lambda pair: np.nansum((of(*pair, validation) - validation.rewards) ** 2))
    router = fitted(train, validation, size=23, ks=ks, temperatures=temperatures)
    assert router.chosen() == {"k": k, **({} if tau is None else {"temperature": tau})}
    np.testing.assert_allclose(scores(router, test), of(k, tau, test), rtol=1e-9)


def test_rewards_at_random_choose_equal_weights():
    """Or null among the temperatures above would never be seen to win."""
    train, validation, _ = problem()
    noise = np.random.default_rng(0)
    train, validation = (part.with_rewards(noise.standard_normal(part.rewards.shape)) for part in (train, validation))
    assert fitted(train, validation, k=100, temperatures=[0.02, None]).chosen() == {"k": 100}


def test_a_low_temperature_is_the_nearest_prompt_that_a_member_has():
    train, validation, test = problem(missing=0.5)
    train = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))
    router = fitted(train, validation, k=len(train), temperature=1e-7)
    for m in range(train.rewards.shape[1]):
        own = train.take(np.flatnonzero(~np.isnan(train.rewards[:, m])))
        nearest = NearestNeighbors(n_neighbors=1).fit(own.embedding).kneighbors(test.embedding, return_distance=False)
        np.testing.assert_allclose(scores(router, test)[:, m], own.rewards[nearest[:, 0], m], rtol=1e-9)


def test_a_high_temperature_is_equal_weights():
    train, validation, test = problem(missing=0.3)
    warm = fitted(train, validation, k=7, temperature=1e12)
    np.testing.assert_allclose(scores(warm, test), scores(fitted(train, validation, k=7), test), rtol=1e-9)


def test_weighted_singles_and_batches_agree():
    train, validation, test = problem(missing=0.2)
    router = fitted(train, validation, k=20, temperature=0.01)
    singles = np.concatenate([scores(router, test.take(np.array([i]))) for i in range(len(test))])
    np.testing.assert_allclose(singles, scores(router, test), rtol=1e-9)


@pytest.mark.parametrize("temperature", [None, 0.2])
def test_neighbour_rewards_are_those_of_scikit_learns_neighbours(temperature):
    train, validation, test = problem(missing=0.3)
    many = test.take(np.arange(BLOCK + 3) % len(test))
    kept = train.take(np.flatnonzero(~np.isnan(train.rewards).all(axis=1)))
    router = fitted(train, validation, ks=(6, 9), temperature=temperature)
    k = int(router.chosen()["k"])
    index = NearestNeighbors(n_neighbors=k, metric="cosine").fit(kept.embedding.astype(np.float64))
    nearest = index.kneighbors(many.embedding.astype(np.float64), return_distance=False)
    found = router.neighbour_rewards(many.features())
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found.numpy(), kept.rewards[nearest])


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_that_cannot_be(value):
    with pytest.raises(ErpError, match=r"router\.temperature = .*above 0, or null"):
        KNN(temperature=value)
    with pytest.raises(ErpError, match=r"router\.temperatures = .*above 0, or null"):
        KNN(temperatures=[None, value])


def test_a_temperature_and_candidates_for_it_are_one_too_many():
    with pytest.raises(ErpError, match=r"router\.temperature = 0\.1: .*one of the two"):
        KNN(temperature=0.1, temperatures=[0.1, 0.2])


@pytest.mark.parametrize("rows", [0, 5])
def test_no_train_prompt_with_a_reward_is_an_error_in_words(rows):
    train, validation, _ = problem()
    empty = train.take(np.arange(rows)).with_rewards(np.full((rows, 4), np.nan))
    with pytest.raises(ErpError, match="no prompt with a reward is left to train on"):
        fitted(empty, validation)


def with_twins(seed=0, missing=0.0):
    """Train prompts of which every embedding stands there four times, with other rewards each time; and test."""
    train, validation, test = problem(seed, missing=missing)
    twins = train.take(np.tile(np.arange(40), 4))
    noise = np.random.default_rng(seed).standard_normal(twins.rewards.shape)
    return twins.with_rewards(twins.rewards + noise), validation, test


@pytest.mark.parametrize("options", [{"k": 3}, {"k": 6, "temperature": 0.1}, {"ks": (2, 5, 9, 30)}])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_no_order_of_the_train_prompts_changes_a_score(options, missing):
    train, validation, test = with_twins(missing=missing)
    first = fitted(train, validation, **options)
    rng = np.random.default_rng(0)
    for order in (np.argsort(train.rewards[:, 0]), *(rng.permutation(len(train)) for _ in range(4))):
        router = fitted(train.take(order), validation, size=31, **options)
        np.testing.assert_array_equal(scores(router, test), scores(first, test))
        singles = np.concatenate([router.neighbour_rewards(test.take(np.array([i])).features()) for i in range(9)])
        np.testing.assert_array_equal(singles, first.neighbour_rewards(test.features())[:9])


def test_which_of_equally_near_prompts_count_does_not_hang_on_their_rewards():
    """Two of four twins are averaged: taken in order of reward they would be off by .66 standard deviations."""
    means = []
    for seed in range(40):
        train, validation, test = with_twins(seed)
        router = fitted(train, validation, k=2)
        means.append((scores(router, test) - scores(fitted(train, validation, k=4), test)).mean())
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means)) < 0.1


def test_a_checkpoint_that_does_not_tell_twins_still_loads():
    train, validation, test = problem(0)  # none: which of them counts would be up to the last bit of a cosine
    router = fitted(train, validation, k=3)
    state = {f"router.{name}": value for name, value in router.state_dict().items() if name != "twin"}
    read = CHECKPOINT.read({"state_dict": state, "card": {}}, "checkpoint")["state_dict"]
    old = KNN(k=3)
    old.load_state_dict({name.removeprefix("router."): value for name, value in read.items()})
    np.testing.assert_allclose(scores(old, test), scores(router, test), rtol=1e-12)
