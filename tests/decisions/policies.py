"""Prompts for tests of policies, and what a policy may know of them."""

import numpy as np

from erp.decisions.choice import outcome
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Calibration, Observed
from erp.table.samples import Samples


def observed(seed, n=200, m=4, per_cell=False, levels=None):
    rng = np.random.default_rng(seed)
    draw = (lambda *s: rng.normal(size=s)) if levels is None else (lambda *s: rng.integers(0, levels, s) / 2.0)
    costs = (
        rng.uniform(0.1, 2.0, (n, m) if per_cell else m) if levels is None else draw(*((n, m) if per_cell else (m,)))
    )
    return _observed(draw(n, m), costs, draw(n, m))


def _observed(scores, costs, rewards):
    """With one sample of each reward, for policies that look at them."""
    each = np.broadcast_to(costs, scores.shape)
    samples = Samples(rewards[:, :, None], np.ones(rewards.shape, dtype=np.int64), np.arange(len(rewards)))
    return Observed(scores, costs, rewards, np.arange(len(scores)), Forecast(scores, each), each, samples)


def known(validation, calibration=None, members=None, scale="reward"):
    m = validation.scores.shape[1]
    means = validation.rewards.mean(axis=0)
    costs = np.broadcast_to(validation.predicted_costs, validation.scores.shape).mean(axis=0)
    return Calibration(members or tuple("abcdefgh"[:m]), scale, means, costs, validation, calibration)


def permuted(part, order):
    return _observed(part.scores[:, order], part.predicted_costs[..., order], part.rewards[:, order])


def calibrated(policy, *arguments, **keywords):
    policy.calibrate(known(*arguments, **keywords))
    return policy


def predicted_cost(policy, part):
    choice = policy.choose(part.scores, part.predicted_costs)
    return outcome(choice, part.scores, part.predicted_costs).mean_cost
