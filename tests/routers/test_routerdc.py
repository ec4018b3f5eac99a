"""RouterDC's two contrasts, prompt by prompt, from the paper's formulas."""

import numpy as np
import pytest
import torch

from erp.errors import ErpError
from erp.routers.routerdc import RouterDC, sample_llm_loss, sample_sample_loss
from tests.routers.gradient import prepared, sampled


def test_the_contrast_with_members_is_the_paper_s_where_rewards_are_0_and_1():
    """Seven members, three best and three worst: a positive that fails is skipped, a negative that succeeds too."""
    rng = np.random.default_rng(0)
    rewards = np.array([rng.permutation([1] * n + [0] * (7 - n)) for n in (3, 4, 4, 3)], dtype=float)
    similarity, total = rng.normal(size=(4, 7)), []
    for row, s in zip(rewards, similarity, strict=True):
        ones, zeros = np.flatnonzero(row == 1), np.flatnonzero(row == 0)
        total.append(sum(-np.log(np.exp(s[i]) / (np.exp(s[i]) + np.exp(s[zeros]).sum())) for i in ones))
    found = sample_llm_loss(torch.from_numpy(similarity), torch.from_numpy(rewards), 3, 4)
    # Of four that are equal all are among the best three, or none: here all.
    assert float(found) == pytest.approx(np.mean(total))


def test_the_contrast_with_members_of_any_rewards():
    rng = np.random.default_rng(1)
    rewards, similarity, total = np.round(rng.normal(size=(40, 6)), 1), rng.normal(size=(40, 6)), []
    rewards[rng.random((40, 6)) < 0.4] = np.nan
    for row, s in zip(rewards, similarity, strict=True):
        there = np.flatnonzero(~np.isnan(row))
        half = max(len(there) // 2, 1)
        best = [m for m in there if np.sum(row[there] > row[m]) < min(half, 2)]
        worst = [m for m in there if np.sum(row[there] < row[m]) < min(half, 3)]
        lost = [
            -np.log(np.exp(s[m]) / (np.exp(s[m]) + np.exp([s[n] for n in worst if row[n] < row[m]]).sum()))
            for m in best if any(row[n] < row[m] for n in worst)
        ]  # fmt: skip
        if lost:
            total.append(sum(lost))
    assert 20 < len(total) < 40
    found = sample_llm_loss(torch.from_numpy(similarity), torch.from_numpy(rewards), 2, 3)
    assert float(found) == pytest.approx(np.mean(total))


def test_the_contrast_of_prompts():
    rng = np.random.default_rng(2)
    hidden = rng.normal(size=(12, 5))
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    cluster, lost = rng.integers(0, 3, 12), []
    for i in range(12):
        others = [hidden[i] @ hidden[j] for j in range(12) if cluster[j] != cluster[i]]
        for j in range(12):
            if i != j and cluster[i] == cluster[j]:
                s = np.exp(hidden[i] @ hidden[j])
                lost.append(-np.log(s / (s + 3 * np.mean(np.exp(others)))))
    found = sample_sample_loss(torch.from_numpy(hidden), torch.from_numpy(cluster), 3)
    assert float(found) == pytest.approx(np.mean(lost))
    assert float(sample_sample_loss(torch.from_numpy(hidden), torch.zeros(12), 3)) == 0.0


def test_scores_are_cosines():
    batch = sampled(n=10)
    router = prepared(RouterDC(dimension=6), batch)
    torch.nn.init.normal_(router.vectors)
    x = batch.features.embedding.numpy() * np.sqrt(8)
    h = x @ router.projection.weight.detach().numpy().T + router.projection.bias.detach().numpy()
    k = router.vectors.detach().numpy()
    expected = h @ k.T / np.linalg.norm(h, axis=1, keepdims=True) / np.linalg.norm(k, axis=1)
    np.testing.assert_allclose(router.scores(batch.features).detach(), expected, atol=1e-5)


BAD = [
    ({"dimension": 0}, "router.dimension = 0"), ({"top": 0}, "router.top = 0"),
    ({"weight": -1.0}, "router.weight = -1.0"), ({"temperature": 0.0}, "router.temperature = 0.0"),
    ({"clusters": 0}, "router.clusters = 0"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_a_bad_setting_is_refused_by_name(arguments, message):
    with pytest.raises(ErpError, match=message):
        RouterDC(**arguments)
