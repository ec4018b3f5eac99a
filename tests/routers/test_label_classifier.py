"""Labels of who is best by hand; what is learnt of them against brute force."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.svm import SVC

from erp.errors import ErpError
from erp.routers.label_classifier import LabelClassifier, LabelKNN, best_labels
from erp.routers.label_svm import LabelSVM
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


@pytest.mark.parametrize("gamma", [None, 3.0])
def test_a_machine_for_each_member_decides_as_scikit_learn_s_does(gamma):
    train, _, test = problem(missing=0.2)
    train = train.with_rewards(np.round(train.rewards / 2))  # with ties
    router = LabelSVM(strength=2.0, gamma=gamma)
    router.fit(train.batches(50), ())
    train = train.take(np.flatnonzero((~np.isnan(train.rewards)).sum(axis=1) >= 2))
    labels, found = best_labels(torch.from_numpy(train.rewards)).numpy(), scores(router, test)
    assert ((labels > 0) & (labels < 1)).any()
    for member in range(4):
        rows = [
            (e, share)
            for e, share in zip(train.embedding.astype(float), labels[:, member], strict=True)
            if share == share
        ]
        x = [e for e, share in rows if share > 0] + [e for e, share in rows if share < 1]
        weight = [share for _, share in rows if share > 0] + [1 - share for _, share in rows if share < 1]
        best = np.arange(len(x)) < sum(share > 0 for _, share in rows)
        model = SVC(C=2.0, gamma=gamma or 1 / (12 * train.embedding.astype(float).var()), tol=1e-6).fit(x, best, weight)
        np.testing.assert_allclose(found[:, member], model.decision_function(test.embedding), atol=5e-3)


def test_a_bad_setting_of_a_machine_is_refused_by_name():
    for arguments, message in (({"strength": 0.0}, "router.strength = 0.0"), ({"gamma": -1.0}, "router.gamma = -1.0")):
        with pytest.raises(ErpError, match=message):
            LabelSVM(**arguments)
