"""Curves that are met at one cost: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erp.decisions.choice import Outcome
from erp.evaluation.run_time import at_cost


def point(cost, *reward):
    return Outcome(np.array(reward), np.full(len(reward), cost), np.ones(1))


CURVE = [point(4.0, 1.0, 3.0), point(1.0, 0.0, 1.0), point(2.0, 1.0, 0.0)]


@pytest.mark.parametrize(
    ("cost", "reward"),
    [
        (1.0, [0, 1]),
        (1.25, [0.25, 0.75]),
        (2.0, [1, 0]),  # the nearest in cost, though it earns less than the cheaper one
        (3.0, [1, 1.5]),
        (9.0, [1, 3]),  # what spends less stays as it is
        (0.5, [0, 1]),
    ],
)
def test_two_points_are_mixed_by_their_costs_alone(cost, reward):
    np.testing.assert_allclose(at_cost(CURVE, cost), reward)


def test_one_point_stands_for_every_cost():
    for cost in (0.5, 1.0, 2.0):
        assert at_cost([point(1.0, 0.5, 0.7)], cost).tolist() == [0.5, 0.7]
