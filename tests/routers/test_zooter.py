"""Zooter's target by hand, and where its loss ends."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from erp.routers.mlp import Trunk
from erp.routers.zooter import Zooter
from tests.routers.gradient import batch_of, prepared, sampled, scores_of

LN3 = np.log(3)


def with_constant_logits(router, logits):
    torch.nn.init.constant_(router.trunk[-1].weight, 0)
    router.trunk[-1].bias.data = torch.tensor(logits, dtype=torch.float32)
    return router


def test_the_target_by_hand():
    """Two members, one reward a cell, two categories, the last prompt's unknown.

    Gaps between the members are 2, 0, 4 and 2, their variances 2, 0, 8 and 2: within = sqrt(3). Category 0 has means
    (2, 1) over the first two prompts: smoothed by .3, prompt 0 has .3 (3, 1) + .7 (2, 1) = (2.3, 1), prompt 1 has
    .3 (1, 1) + .7 (2, 1) = (1.7, 1). Category 1 is prompt 2 alone: (0, 4) stays. Prompt 3 stays: (2, 0).
    """
    batch = batch_of([[[3.0], [1.0]], [[1.0], [1.0]], [[0.0], [4.0]], [[2.0], [0.0]]], category=[0, 0, 1, -1])
    router = prepared(Zooter(temperature=2.0), batch)
    gaps = np.array([1.3, 0.7, -4, 2]) / (2 * np.sqrt(3))
    np.testing.assert_allclose(router.target(batch)[:, 0], 1 / (1 + np.exp(-gaps)), rtol=1e-12)
    plain = prepared(Zooter(temperature=2.0, beta=1.0), batch)
    gaps = np.array([2, 0, -4, 2]) / (2 * np.sqrt(3))
    np.testing.assert_allclose(plain.target(batch)[:, 0], 1 / (1 + np.exp(-gaps)), rtol=1e-12)


def test_three_to_one():
    """Rewards ln 3 apart, and 0 apart as often: within is ln 3 / 2, and a temperature of 2 / ln 3 makes T = 1."""
    batch = batch_of([[[LN3], [0.0]], [[0.0], [0.0]]], category=[-1, -1])
    found = prepared(Zooter(temperature=2 / LN3), batch).target(batch)
    np.testing.assert_allclose(found, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-12)


def test_a_missing_member_is_no_part_of_either_softmax():
    samples = np.random.default_rng(0).standard_normal((6, 3, 1))
    samples[0, 1] = samples[1, :2] = samples[2] = np.nan
    batch = batch_of(samples, category=np.full(6, -1))
    router = with_constant_logits(prepared(Zooter(), batch).eval(), [0.5, -1.0, 2.0])
    logits, total = np.array([0.5, -1.0, 2.0]), []
    temperature = float(router.units.within)
    for row in samples[:, :, 0]:
        here = ~np.isnan(row)
        if here.sum() >= 2:
            total.append(rel_entr(softmax(row[here] / temperature), softmax(logits[here])).sum())
    assert len(total) == 4
    assert float(router.loss(batch).detach()) == pytest.approx(np.mean(total), rel=1e-5)


def test_scores_are_temperature_times_logit():
    batch = sampled()
    router = with_constant_logits(prepared(Zooter(temperature=0.5), batch).eval(), [1.0, 2.0, 3.0, -1.0])
    expected = 0.5 * float(router.units.within) * np.array([1.0, 2.0, 3.0, -1.0])
    np.testing.assert_allclose(scores_of(router, batch), np.tile(expected, (200, 1)), rtol=1e-6)


def test_the_loss_is_zero_at_the_target_alone():
    batch = batch_of([[[1.0], [0.0], [3.0]]], category=[-1])
    router = prepared(Zooter(), batch).eval()
    logits = (batch.rewards[0] / router.units.within).tolist()
    assert float(with_constant_logits(router, logits).loss(batch).detach()) == pytest.approx(0, abs=1e-6)
    assert float(with_constant_logits(router, [0.0, 0.0, 0.0]).loss(batch).detach()) > 0.1


@pytest.mark.parametrize("k", [1, 4])
def test_shrinking_uses_samples_where_there_are_some(k):
    batch = sampled(k=k, noise=3.0)
    shrunk, plain = (prepared(Zooter(beta=1.0, shrink=s), batch).target(batch) for s in (True, False))
    if k == 1:
        assert torch.equal(shrunk, plain)
    else:  # less sure of the best
        assert shrunk.amax(dim=1).mean() < plain.amax(dim=1).mean() - 0.02


def test_categories_are_not_needed_to_score():
    batch = sampled()
    router = prepared(Zooter(), batch).eval()
    router.trunk = Trunk(8, (), 0.0, 4, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    unknown = batch_of(batch.samples, batch.features.embedding, np.full(200, -1))
    np.testing.assert_array_equal(scores_of(router, unknown), scores_of(router, batch))
