"""Hybrid LLM's labels pair of samples by pair of samples, and what its scores choose."""

from itertools import product

import numpy as np
import pytest
import torch

from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.routers.hybrid_llm import HybridLLM
from erp.trained.checkpoint import load_bundle
from tests.routers.gradient import batch_of, learnt, prepared, sampled, scores_of
from tests.routers.problems import router_options
from tests.training.tables import routing_data, trained


def drawn(large, seed=0, n=60, k=3, missing=0.1):
    """Two members; the large one costs more, and is better by 1 on average."""
    found = sampled(seed, n=n, k=k, members=2, missing=missing)
    samples = found.samples.numpy().copy()
    samples[:, large] += 1.0
    costs = np.ones((n, 2))
    costs[:, large] = 3.0
    return batch_of(samples, found.features.embedding, costs=costs)


def shares(samples, small, large, slack):
    """P(r_small >= r_large - slack) of each prompt, over all pairs of samples that are there."""
    found = []
    for row in samples:
        pairs = [(one, other) for one, other in product(row[small], row[large]) if not np.isnan(one + other)]
        found.append(np.mean([one >= other - slack for one, other in pairs]) if pairs else np.nan)
    return np.array(found)


def distance(labels):
    known = labels[~np.isnan(labels)]
    return np.mean(np.abs(known[:, None] - known))


@pytest.mark.parametrize("large", [0, 1])
def test_labels(large):
    batch = drawn(large)
    samples, small = batch.samples.numpy(), 1 - large
    means = np.array([[np.nan if np.isnan(c).all() else np.nanmean(c) for c in row] for row in samples])
    gap = means[:, small] - means[:, large]
    told = {label: prepared(HybridLLM(label), batch).target(batch).numpy() for label in ("det", "prob", "trans")}
    np.testing.assert_array_equal(told["det"], np.where(np.isnan(gap), np.nan, gap >= 0))
    np.testing.assert_allclose(told["prob"], shares(samples, small, large, 0.0))
    slack = prepared(HybridLLM(), batch).chosen()["t"]
    assert slack > 0
    np.testing.assert_allclose(told["trans"], shares(samples, small, large, slack))
    best = max(distance(shares(samples, small, large, t)) for t in np.linspace(0, 4, 41))
    assert distance(told["trans"]) > 0.97 * best
    assert distance(told["trans"]) > distance(told["prob"])


def test_the_loss_is_the_cross_entropy_over_prompts_with_both():
    batch = drawn(1, missing=0.4)
    router = prepared(HybridLLM("prob", hidden=(4,)), batch).eval()
    torch.nn.init.normal_(router.trunk[-1].weight)
    p, y = scores_of(router, batch)[:, 0], router.target(batch).numpy()
    assert np.isnan(y).any()
    expected = np.nanmean(-y * np.log(p) - (1 - y) * np.log(1 - p))
    assert float(router.loss(batch).detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("large", [0, 1])
def test_lambda_sweeps_the_threshold_from_all_large_to_all_small(large):
    train, validation, test = (drawn(large, seed, n=200) for seed in (0, 1, 2))
    found = scores_of(learnt(HybridLLM(), train, validation), test)
    assert (found[:, large] == 1.0).all()
    costs, shares = test.costs.numpy()[0], []
    for price in (0.0, 0.1, 0.25, 0.4, 0.6):
        chosen = choose(found, costs, price)
        np.testing.assert_array_equal(chosen == 1 - large, found[:, 1 - large] > 1 - 2 * price)
        shares.append(np.mean(chosen == large))
    assert shares[0] == 1.0
    assert shares[-1] == 0.0
    assert np.all(np.diff(shares) <= 0)
    # Who is sent to the small member where half are: those where it does comparatively well.
    small, rewards = found[:, 1 - large] > np.median(found[:, 1 - large]), test.rewards.numpy()
    gap = rewards[:, large] - rewards[:, 1 - large]
    assert np.nanmean(gap[small]) < np.nanmean(gap[~small]) - 1


def test_what_is_saved_is_what_is_loaded(tmp_path):
    data = routing_data(60, members=2, missing=0.1)
    bundle, datamodule = trained(data, router_options()["hybrid_llm"], tmp_path)
    again = load_bundle(tmp_path / "checkpoint.ckpt")
    for batch in datamodule.loader(data.split.test):
        np.testing.assert_array_equal(scores_of(again.router.eval(), batch), scores_of(bundle.router.eval(), batch))
    assert again.router.chosen() == bundle.router.chosen()


def test_nothing_to_learn_from_is_no_fault():
    empty = batch_of(np.full((5, 2, 2), np.nan), np.eye(5))
    router = learnt(HybridLLM(), empty, empty, max_epochs=1)
    assert np.isfinite(scores_of(router, empty)).all()
    assert float(router.loss(empty).detach()) == 0.0


def test_an_unknown_label_is_refused():
    with pytest.raises(ErpError, match=r"router.label = best.*det, prob, trans"):
        HybridLLM("best")
