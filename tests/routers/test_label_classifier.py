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


def machine(train, labels, strength):
    """scikit-learn's, taught every prompt once for each label that it has, at its share; scores as it has them."""
    prompt, owner = np.nonzero(labels > 0)
    x = train.embedding.astype(float)
    model = SVC(C=strength, gamma=1 / (x.shape[1] * x.var()), tol=1e-7, break_ties=True)
    return model.fit(x[prompt], owner, sample_weight=labels[prompt, owner])


@pytest.mark.parametrize("strength", [0.5, 5.0])
def test_support_vectors_score_as_scikit_learn_s_do_ties_and_all(strength):
    train, _, test = problem()
    train = train.with_rewards(np.round(train.rewards))  # with ties
    labels = best_labels(torch.from_numpy(train.rewards)).numpy()
    assert 20 < (labels.max(axis=1) < 1).sum() < 140
    router = LabelSVM(strength)
    router.fit(train.batches(50), [])
    judge = machine(train, labels, strength).decision_function(test.embedding.astype(float))
    np.testing.assert_allclose(scores(router, test), judge, atol=1e-3)


def test_a_pair_of_members_is_parted_on_the_prompts_that_have_both():
    train, _, test = problem(missing=0.3)
    router, won = LabelSVM(), np.zeros((len(test), 4))
    router.fit(train.batches(50), [])
    labels = best_labels(torch.from_numpy(train.rewards)).numpy()
    for a in range(4):
        for b in range(a):
            rows = np.flatnonzero(labels[:, [a, b]].sum(axis=1) > 0)  # NaN is not
            x = train.embedding.astype(float)
            pair = SVC(gamma=1 / (x.shape[1] * x.var()), tol=1e-7).fit(x[rows], labels[rows, a])
            ahead = pair.decision_function(test.embedding.astype(float)) > 0
            won[:, a] += ahead
            won[:, b] += ~ahead
    np.testing.assert_array_equal(np.round(scores(router, test)), won)


def test_members_that_are_never_best_never_win():
    train, _, test = problem(members=3)
    train.rewards[:, 1] = train.rewards.min() - 1
    router = LabelSVM()
    router.fit(train.batches(50), [])
    assert (scores(router, test).argmin(axis=1) == 1).all()


@pytest.mark.parametrize("settings", [{"strength": 0.0}, {"strength": np.inf}, {"gamma": 0.0}, {"gamma": np.nan}])
def test_a_strength_or_a_kernel_that_is_none_is_refused(settings):
    with pytest.raises(ErpError, match=r"router\.(strength|gamma) = .*above 0"):
        LabelSVM(**settings)
