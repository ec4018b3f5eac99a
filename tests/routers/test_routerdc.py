"""RouterDC's two contrasts, prompt by prompt, from the paper's formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from erp.errors import ErpError
from erp.routers.base import Features
from erp.routers.routerdc import RouterDC, sample_llm_loss, sample_sample_loss
from tests.routers.contrasts import of_prompts, with_members
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
    rewards, similarity = np.round(rng.normal(size=(40, 6)), 1), rng.normal(size=(40, 6))
    rewards[rng.random((40, 6)) < 0.4] = np.nan
    given = torch.from_numpy(similarity), torch.from_numpy(rewards)
    for failure in (None, 0.0):
        limit = np.inf if failure is None else failure
        expected, counted = with_members(similarity, rewards, 2, 3, limit)
        assert 15 < counted < 40
        assert float(sample_llm_loss(*given, 2, 3, failure)) == pytest.approx(expected)


def test_with_failures_alone_pushed_away_it_is_what_the_released_code_computes():
    """Sorted, without ties: a positive of 0 is left out, a negative above .5 too; a mean over all prompts."""
    rng = np.random.default_rng(3)
    rewards = np.stack([rng.choice(11, 7, replace=False) / 10 for _ in range(50)])
    similarity, total, counted = rng.uniform(-1, 1, (50, 7)), [], []
    for row, s in zip(rewards, similarity, strict=True):
        order = np.argsort(row)
        pushed = [m for m in order[:3] if row[m] <= 0.5]
        drawn = [m for m in order[::-1][:3] if row[m] > 0]
        counted.append(bool(pushed))
        total.append(sum(-s[m] + np.log(np.exp(s[m]) + np.exp(s[pushed]).sum()) for m in drawn))
    found = sample_llm_loss(torch.from_numpy(similarity), torch.from_numpy(rewards), 3, 3, 0.5)
    assert float(found) == pytest.approx(np.sum(total) / np.sum(counted))


def test_the_contrast_of_prompts():
    rng = np.random.default_rng(2)
    hidden, cluster = rng.normal(size=(12, 5)), rng.integers(0, 3, 12)
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    found = sample_sample_loss(torch.from_numpy(hidden), torch.from_numpy(cluster), 3)
    assert float(found) == pytest.approx(of_prompts(hidden, cluster, 3))
    assert float(sample_sample_loss(torch.from_numpy(hidden), torch.zeros(12), 3)) == 0.0


def test_clusters_are_those_of_the_encoder_as_it_was_released():
    """What it makes of the prompts in training changes the contrast, not which of them are of a cluster."""
    batch = sampled(n=60)
    router = prepared(RouterDC(dimension=None, clusters=3, init_std=0.78), batch)
    now = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    trained = replace(batch, features=Features(now, batch.features.category), released=batch.features.embedding)
    points = batch.features.embedding.double()
    cluster = torch.cdist(points, router.centers).argmin(dim=1).numpy()
    similarity = router.scores(trained.features).detach().numpy()
    expected = with_members(similarity, batch.rewards.numpy(), 3, 3)[0] + of_prompts(now.numpy(), cluster, 3)
    with torch.no_grad():
        assert float(router.loss(trained)) == pytest.approx(expected, rel=1e-5)
        assert float(router.loss(replace(trained, released=None))) != pytest.approx(expected, rel=1e-3)


def test_without_a_map_scores_are_cosines_of_the_embedding_and_members_begin_apart():
    batch = sampled(n=10)
    router = prepared(RouterDC(dimension=None, init_std=0.78), batch)
    k = router.vectors.detach().numpy()
    x = batch.features.embedding.numpy()
    expected = x @ k.T / np.linalg.norm(k, axis=1)
    np.testing.assert_allclose(router.scores(batch.features).detach(), expected, atol=1e-6)
    many = prepared(RouterDC(dimension=4096, init_std=0.78), batch).vectors.detach().numpy()
    assert many.std(axis=1) == pytest.approx(0.78, rel=0.05)
    assert np.abs(np.corrcoef(many) - np.eye(len(many))).max() < 0.1
    assert np.ptp(prepared(RouterDC(), batch).vectors.detach().numpy(), axis=0).max() == 0


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
    ({"clusters": 0}, "router.clusters = 0"), ({"failure": float("nan")}, "router.failure = nan"),
    ({"init_std": 0.0}, "router.init_std = 0.0"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_a_bad_setting_is_refused_by_name(arguments, message):
    with pytest.raises(ErpError, match=message):
        RouterDC(**arguments)
