"""Mean curves, judged by hand-worked polylines."""

from pathlib import Path

import numpy as np
import pytest

from erp.evaluation.comparison.mean_curves import curve_panels
from tests.contenders import placed


def straight(results, points, costs=(1.0, 2.0, 11.0), base=0.61, split=0, router="ridge"):
    """A run whose curve goes through points of cost and gain, lambda = 0 first."""
    run = results(costs=costs, seed=split, router_name=router)
    cost, gain = zip(*points, strict=True)
    run["curves"]["router"] = {
        "lambda": [*range(len(cost) - 1), None], "cost": list(cost), "reward": [base + one for one in gain],
    }  # fmt: skip
    run["routing"]["best_single"]["reward"] = base
    return run


def test_gains_are_averaged_at_equal_shares_of_the_pools_range(results):
    """Costs 1..11 and 10..110 are one range; curves end at shares .5 and .7, gains there .1 and .3."""
    runs = [
        (Path("a"), straight(results, [(6.0, 0.1), (1.0, -0.4)])),
        (Path("b"), straight(results, [(80.0, 0.3), (10.0, -0.4)], costs=(10.0, 20.0, 110.0), base=7.0, split=1)),
    ]
    (panel,) = curve_panels(runs, placed(runs))
    (curve,) = panel.curves
    assert (curve.runs, panel.splits, panel.ends, panel.logarithmic) == (2, 2, (5.5, 60.5), False)
    assert (curve.share[0], curve.share[-1]) == (0, pytest.approx(0.6))
    assert (curve.gain[0], curve.gain[-1]) == (pytest.approx(-0.4), pytest.approx(0.2))
    for share in (0.1, 0.25, 0.5):  # both curves are straight: gain = -0.4 + share
        assert np.interp(share, curve.share, curve.gain) == pytest.approx(-0.4 + share, abs=1e-3)
    near_end = np.interp(0.59, curve.share, curve.gain)
    assert near_end == pytest.approx((0.1 + 0.19) / 2, abs=3e-3), "nothing is spent beyond lambda = 0"
    assert (curve.low[-1], curve.high[-1]) == (pytest.approx(0.1), pytest.approx(0.3))
    assert (curve.low <= curve.gain + 1e-12).all()
    assert (curve.gain <= curve.high + 1e-12).all()
    assert panel.costs(np.array([0.0, 1.0])).tolist() == [5.5, 60.5]


def test_a_split_counts_once_however_many_seeds_it_has(results):
    runs = [
        (Path(str(i)), straight(results, [(6.0, gain), (1.0, -0.4)], split=split))
        for i, (split, gain) in enumerate([(0, 0.0), (0, 0.2), (1, 0.4)])
    ]
    (panel,) = curve_panels(runs, placed(runs))
    assert panel.curves[0].gain[-1] == pytest.approx((0.1 + 0.4) / 2)


def test_categories_left_out_are_splits_whatever_their_seed(results):
    """Two routers on math (two seeds of one, so three runs) and on code; ranges 1..11 and 10..110, bases .61 and 7."""
    math = {"costs": (1.0, 2.0, 11.0), "base": 0.61}
    code = {"costs": (10.0, 30.0, 110.0), "base": 7.0}
    made = [("ridge", "math", 0.1), ("ridge", "math", 0.3), ("ridge", "code", 0.6), ("knn", "math", 0.0)]
    runs = []
    for i, (router, split, gain) in enumerate(made):
        facts, end = (math, 6.0) if split == "math" else (code, 60.0)
        run = straight(results, [(end, gain), (facts["costs"][0], -0.4)], router=router, **facts)
        oracle = {
            "lambda": [0, None],
            "cost": [end, end],
            "reward": [facts["base"] + (0.5 if split == "math" else 0.9)] * 2,
        }
        run["curves"]["oracle"] = oracle
        run["routing"]["best_single"]["cost"] = 11.0 if split == "math" else 30.0
        runs.append((Path(str(i)), run))
    (panel,) = curve_panels(runs, placed(runs, [split for _, split, _ in made]))
    assert (panel.splits, panel.ends) == (2, (5.5, 60.5))
    # small-7b: cost 2 of 1..11 and 30 of 10..110, the best single of code; its reward is .55 in both
    assert panel.members["small-7b"] == pytest.approx([(0.1 + 0.2) / 2, (0.55 - 0.61 + 0.55 - 7.0) / 2])
    assert panel.single == pytest.approx((1.0 + 0.2) / 2)
    assert panel.oracle.runs == 2
    assert panel.oracle.gain[-1] == pytest.approx((0.5 + 0.9) / 2)
    ridge, knn = panel.curves
    assert ridge.gain[-1] == pytest.approx(((0.1 + 0.3) / 2 + 0.6) / 2)
    assert (knn.runs, knn.gain[-1]) == (1, pytest.approx(0.0))


def test_points_need_not_be_in_the_order_of_their_costs(results):
    run = straight(results, [(6.0, 0.1), (7.0, 0.2), (1.0, -0.4)])
    (panel,) = curve_panels([(Path("a"), run)], placed([(Path("a"), run)]))
    assert (panel.curves[0].share[-1], panel.curves[0].gain[-1]) == (pytest.approx(0.5), pytest.approx(0.1))


def test_costs_far_apart_are_shares_of_their_logarithm(results):
    run = straight(results, [(10.0, 0.1), (1.0, -0.4)], costs=(1.0, 10.0, 100.0))
    (panel,) = curve_panels([(Path("a"), run)], placed([(Path("a"), run)]))
    assert panel.logarithmic
    assert panel.curves[0].share[-1] == pytest.approx(0.5)
    assert panel.costs(np.array([0.5])) == pytest.approx([10.0])
    assert panel.members["small-7b"] == pytest.approx([0.5, 0.55 - 0.61])
    assert panel.single == pytest.approx(1.0)


def test_without_a_cost_axis_or_a_curve_there_is_nothing_to_draw(results):
    free, old, bare = results("free"), results(), results()
    del old["curves"], bare["cost"]["range"]
    content = [(Path("a"), free), (Path("b"), old), (Path("c"), bare)]
    assert curve_panels(content, placed(content)) == []
    partly = results()
    del partly["curves"]["oracle"]
    (panel,) = curve_panels([(Path("d"), partly)], placed([(Path("d"), partly)]))
    assert panel.oracle is None
