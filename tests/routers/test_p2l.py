"""The grounded Rao-Kupper law and its likelihood, pair by pair."""

from itertools import combinations

import numpy as np
import pytest
import torch

from erp.errors import ErpError
from erp.routers.p2l import P2L, outcome_chances
from tests.routers.gradient import batch_of, prepared, sampled


def chances(first, second, eta):
    """The first wins, the second wins, a tie, a tie of two bad ones."""
    one, other, theta = np.exp(first), np.exp(second), 1 + np.exp(eta)
    wins, loses, bad = one / (one + theta * other + 1), other / (other + theta * one + 1), 1 / (1 + one + other)
    return wins, loses, 1 - wins - loses - bad, bad


def test_chances_are_those_of_the_formulas_far_out_too():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 4, (2, 50, 3))
    eta = rng.normal(0, 2, (50, 1))
    found = outcome_chances(*map(torch.from_numpy, (first, second, eta))).numpy()
    np.testing.assert_allclose(found, np.stack(np.broadcast_arrays(*chances(first, second, eta))), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=0), 1)
    far = outcome_chances(torch.tensor([[900.0]]), torch.tensor([[-900.0]]), torch.zeros(1, 1))
    np.testing.assert_allclose(far[:, 0, 0], [1, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_loss_is_the_mean_over_pairs_of_what_happened(margin):
    batch = sampled(n=40, k=1, missing=0.3)
    batch = batch_of(np.round(batch.samples.numpy()), batch.features.embedding)
    router = prepared(P2L(hidden=(5,), margin=margin), batch).eval()
    torch.nn.init.normal_(router.trunk[-1].weight)
    torch.nn.init.normal_(router.ties[-1].weight)
    beta = router.scores(batch.features).detach().numpy()
    eta = router.ties(batch.features.embedding).detach().numpy()[:, 0]
    rewards = batch.rewards.numpy()
    level = np.nanmean(rewards)
    within = np.sqrt(np.mean([np.nanvar(r, ddof=1) for r in rewards if np.sum(~np.isnan(r)) > 1]))
    lost, seen = [], set()
    for row, b, e in zip(rewards, beta, eta, strict=True):
        for i, j in combinations(range(4), 2):
            if np.isnan(row[i] - row[j]):
                continue
            if abs(row[i] - row[j]) <= margin * within:
                outcome = 3 if (row[i] + row[j]) / 2 < level else 2
            else:
                outcome = 0 if row[i] > row[j] else 1
            seen.add(outcome)
            lost.append(-np.log(chances(b[i], b[j], e)[outcome]))
    assert seen == {0, 1, 2, 3}
    assert float(router.loss(batch).detach()) == pytest.approx(np.mean(lost), rel=1e-4)


def test_a_bad_setting_is_refused_by_name():
    for arguments, message in (({"margin": -1.0}, "router.margin = -1.0"), ({"hidden": (0,)}, "router.hidden")):
        with pytest.raises(ErpError, match=message):
            P2L(**arguments)
