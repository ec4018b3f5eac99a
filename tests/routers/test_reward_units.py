"""Rewards in other units, or far from 0, are the same rewards: choices and fit stay, predictions move along."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from erp.build import build
from erp.metrics.prediction import r2, r2_pooled
from erp.routers.base import Dimensions, Router
from erp.routers.fitting import fit_router
from tests.routers.problems import Part, in_few_epochs, problem, router_nodes, scores

# (offset, scale): at 1e8 a float64 has 1.5e-8 left for a reward of one unit, a float32 nothing.
UNITS = [(1e8, 1.0), (-1e8, 1.0), (0.0, 1e6), (0.0, 1e-6), (1e8, 1e6), (1.0, 1e-6)]
CATEGORIES = 3
NODES = router_nodes()
NODES["kernel_ridge, landmarks"] = {**NODES["kernel_ridge"], "exact_up_to": 10, "landmarks": 60}
NODES["mlp, huber"] = {**NODES["mlp"], "loss": "huber", "weights": "precision"}


@functools.cache
def parts() -> tuple[Part, ...]:
    return problem(missing=0.15, categories=CATEGORIES)


@functools.cache
def fitted(name: str, offset: float, scale: float) -> tuple[Router, np.ndarray]:
    train, validation, test = (part.with_rewards(offset + scale * part.rewards) for part in parts())
    router = build(NODES[name], Router, key="router")
    torch.manual_seed(0)
    router.prepare(Dimensions(train.embedding.shape[1], train.rewards.shape[1], CATEGORIES))
    with in_few_epochs(1e-3):  # larger steps make more of the last digit
        fit_router(router, train.batches(64), validation.batches(64))
    return router, scores(router, test)


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize(("offset", "scale"), UNITS)
def test_a_router_chooses_and_predicts_the_same_in_any_units(name, offset, scale):
    (router, plain), (_, found) = fitted(name, 0.0, 1.0), fitted(name, offset, scale)
    assert (plain.argmax(axis=1) == found.argmax(axis=1)).all()
    if router.scale == "reward":
        rewards = parts()[2].rewards
        np.testing.assert_allclose((found - offset) / scale, plain, atol=0.01)  # of a standard deviation of 1.5
        moved = offset + scale * rewards
        np.testing.assert_allclose(r2(found, moved), r2(plain, rewards), atol=2e-3)
        assert r2_pooled(found, moved) == pytest.approx(r2_pooled(plain, rewards), abs=2e-3)


@pytest.mark.parametrize("name", ["ridge", "kernel_ridge, landmarks", "knn", "cluster_mean"])
@pytest.mark.parametrize(("offset", "scale"), UNITS)
def test_a_closed_form_moves_with_its_rewards_to_the_digits_they_have(name, offset, scale):
    (_, plain), (_, found) = fitted(name, 0.0, 1.0), fitted(name, offset, scale)
    digits = 1e-9 + 1e2 * np.spacing(abs(offset)) / scale
    np.testing.assert_allclose((found - offset) / scale, plain, atol=digits)


def test_members_may_lie_far_from_each_other():
    """One member's rewards near 0, another's near 1e8: neither may cost the other its digits."""
    train, validation, test = parts()
    far = np.array([0.0, 1e8, -1e6, 3.0])
    router = build(NODES["ridge"], Router, key="router")
    router.fit(
        train.with_rewards(train.rewards + far).batches(64),
        validation.with_rewards(validation.rewards + far).batches(64),
    )
    np.testing.assert_allclose(scores(router, test) - far, fitted("ridge", 0.0, 1.0)[1], atol=1e-6)
