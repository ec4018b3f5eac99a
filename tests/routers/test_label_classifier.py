"""Labels of who is best by hand; what is learnt of them against brute force."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from erp.routers.label_classifier import LabelClassifier, LabelKNN, best_labels
from tests.routers.gradient import prepared, sampled
from tests.routers.problems import problem, scores

NAN = np.nan


def test_labels_by_hand():
    rewards = torch.tensor([[1, 3, 2], [2, 2, 1], [NAN, 1, 1], [NAN, NAN, 5], [NAN, NAN, NAN], [4, 4, 4]])
    expected = [[0, 1, 0], [0.5, 0.5, 0], [NAN, 0.5, 0.5], [NAN, NAN, 1], [NAN, NAN, NAN], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(best_labels(rewards), expected)


def test_the_loss_is_the_mean_cross_entropy_of_prompts_that_tell_something():
    batch = sampled(n=30, missing=0.5)
    router = prepared(LabelClassifier(hidden=(8,)), batch).eval()
    torch.nn.init.normal_(router.trunk[-1].weight)
    logits, lost = router.scores(batch.features).detach().numpy(), []
    for row, told in zip(batch.rewards.numpy(), logits, strict=True):
        there = np.flatnonzero(~np.isnan(row))
        if len(there) >= 2:
            best = there[row[there] == row[there].max()]
            chances = dict(zip(there, log_softmax(told[there]), strict=True))
            lost.append(-np.mean([chances[m] for m in best]))
    assert 10 < len(lost) < 30
    assert float(router.loss(batch).detach()) == pytest.approx(np.mean(lost), rel=1e-5)


def test_neighbours_vote_for_the_members_that_were_best():
    train, validation, test = problem(missing=0.2)
    train = train.with_rewards(np.round(train.rewards))  # with ties
    router = LabelKNN(k=7)
    router.fit(train.batches(50), validation.batches())
    train = train.take(np.flatnonzero((~np.isnan(train.rewards)).sum(axis=1) >= 2))  # one alone is not the best of any
    for row, found in zip(test.embedding, scores(router, test), strict=True):
        near = np.argsort(-train.embedding @ row)[:7]
        votes, seen = np.zeros(4), np.zeros(4)
        for rewards in train.rewards[near]:
            best = rewards == np.nanmax(rewards)
            votes += best / best.sum()
            seen += ~np.isnan(rewards)
        np.testing.assert_allclose(found[seen > 0], (votes / np.maximum(seen, 1))[seen > 0])
