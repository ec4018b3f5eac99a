"""Strengths against a general optimiser on games that are listed one by one."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from erp.errors import ErpError
from erp.routers.bradley_terry import BradleyTerry, SimilarityWeighted, strengths_of
from tests.routers.problems import problem, scores


def fitted(router, train):
    router.fit(train.batches(50), ())
    return router


def tied():
    """Rewards of whole numbers, some missing."""
    train, _, test = problem(sizes=(60, 1, 6), missing=0.2)
    return train.with_rewards(np.round(train.rewards / 2)), test


def most_likely(rewards, weights):
    """Of sum 0: each game with the weight of its prompt, and a draw of the mean weight between every two members."""
    games = []
    for row, weight in zip(rewards, weights, strict=True):
        for i, j in combinations(range(len(row)), 2):
            if not np.isnan(row[[i, j]]).any():
                games.append((i, j, weight, 1.0 if row[i] > row[j] else 0.0 if row[i] < row[j] else 0.5))
    games += [(i, j, np.mean(weights), 0.5) for i, j in combinations(range(rewards.shape[1]), 2)]
    i, j, weight, won = (np.array(column) for column in zip(*games, strict=True))

    def lost(beta):
        gap = beta[i] - beta[j]
        return np.sum(weight * (won * np.logaddexp(0, -gap) + (1 - won) * np.logaddexp(0, gap))) / np.sum(weight)

    beta = minimize(lost, np.zeros(rewards.shape[1]), method="BFGS", options={"gtol": 1e-9}).x
    return beta - beta.mean()


def test_one_strength_a_member_is_of_most_likelihood():
    train, test = tied()
    found = scores(router := fitted(BradleyTerry(), train), test)
    expected = most_likely(train.rewards, np.ones(60))
    np.testing.assert_allclose(found, np.tile(expected, (6, 1)), atol=1e-5)
    told = [float(rating) for rating in router.chosen()["Elo, in the pool's order"].split(", ")]
    np.testing.assert_allclose(told, 1000 + 400 / np.log(10) * expected, atol=0.6)


def test_each_prompt_weighs_the_games_by_its_similarity(monkeypatch):
    train, test = tied()
    found = scores(router := fitted(SimilarityWeighted(), train), test)
    monkeypatch.setattr("erp.routers.bradley_terry.COMPARED", 130)  # two prompts, and 21 train prompts, at once
    np.testing.assert_allclose(scores(router, test), found, rtol=1e-9)
    for e, told in zip(test.embedding.astype(float), found, strict=True):
        cosine = train.embedding.astype(float) @ e
        np.testing.assert_allclose(told, most_likely(train.rewards, 10 * 10 ** (cosine / cosine.max())), atol=1e-5)


def test_gamma_is_the_likeliest_on_validation():
    """Each candidate's strengths are those of an optimiser; the likelihood is taken game by game."""
    train, test = tied()
    held = problem(sizes=(60, 25, 1))[1]
    held = held.with_rewards(np.round(held.rewards / 2))
    held.rewards[::3, 1] = np.nan
    candidates = [1.0, 10.0, 1e4]

    def lost(gamma):
        total = 0.0
        for e, row in zip(held.embedding.astype(float), held.rewards, strict=True):
            cosine = train.embedding.astype(float) @ e
            beta = most_likely(train.rewards, gamma ** (1 + cosine / cosine.max()))
            for i, j in combinations(np.flatnonzero(~np.isnan(row)), 2):
                won = (np.sign(row[i] - row[j]) + 1) / 2
                total += won * np.logaddexp(0, beta[j] - beta[i]) + (1 - won) * np.logaddexp(0, beta[i] - beta[j])
        return total

    router = SimilarityWeighted(gammas=candidates)
    router.fit(train.batches(50), held.batches(10))
    best = min(candidates, key=lost)
    assert router.chosen() == {"gamma": best}
    alone = SimilarityWeighted(gammas=[best])
    alone.fit(train.batches(50), ())
    np.testing.assert_allclose(scores(router, test), scores(alone, test), rtol=1e-12)


def test_a_gamma_that_weighs_nothing_is_refused():
    for gammas in ([], [0.5], [float("nan")], [1e101]):
        with pytest.raises(ErpError, match=r"router.gammas = \[.*\]: give one number or more, each from 1 to 1e\+100"):
            SimilarityWeighted(gammas=gammas)


def test_two_members_have_the_log_odds_of_their_wins():
    """Nine wins and three losses, and half a win for each: 9.5 to 3.5."""
    train = problem(sizes=(12, 1, 1), members=2)[0]
    train = train.with_rewards(np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]] * 3))
    np.testing.assert_allclose(np.diff(fitted(BradleyTerry(), train).strengths), -np.log(9.5 / 3.5), rtol=1e-9)


def test_a_member_that_wins_every_game_is_found_too():
    wins = np.full((1, 5, 5), 0.5)
    wins[:, 0, 1:] = wins[:, 1:3, 3:] = 1e7
    beta = strengths_of(torch.from_numpy(wins))[0].numpy()
    chance = 1 / (1 + np.exp(beta[None, :] - beta[:, None]))
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(((wins[0] - (wins[0] + wins[0].T) * chance) * off).sum(axis=1), 0, atol=1e-2)
    assert beta[0] > beta[1] == pytest.approx(beta[2], abs=1e-9)
    assert beta[2] > beta[3]
