"""Predicted costs on test: hand-worked, against brute force, and against runs that decide by other costs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

import erp
from erp.decisions.policy import LambdaPolicy
from erp.evaluation.evaluate import evaluate
from erp.evaluation.held_out import HeldOut
from erp.metrics.routing import audc, audc_of_rows
from erp.targets import Targets

QUICK = [
    *("data=synthetic", "backbone=hashing", "backbone.dimensions=32", "tracking=off", "figures=false"),
    "bootstrap.draws=200",
]
SETTINGS = {"draws": 300, "seed": 1, "level": 0.95}


def arrays(n=60, members=3, seed=0):
    """Scores, rewards, true costs, predicted ones and train means, in which predictions tell something."""
    rng = np.random.default_rng(seed)
    expected = np.exp(rng.normal(size=(n, members)) + np.arange(members))
    scores = rng.normal(size=(n, members)) + np.arange(members) / 3
    rewards = scores + rng.normal(size=(n, members))
    return scores, rewards, expected * np.exp(rng.normal(size=(n, members)) / 2), expected, expected.mean(axis=0) * 1.3


def judged(scores, rewards, costs, predicted, train_costs, **more):
    settings = {"bootstrap": SETTINGS, "train_rewards": rewards.mean(axis=0), "train_costs": train_costs, **more}
    return erp.evaluate_scores(scores, rewards, costs, predicted_costs=predicted, **settings)


def test_by_hand():
    """Member 0: errors of the mean 4 are 3, 1, 0, 2, 6, squared 50; of the predictions 0, 1, 0, 1, 3, squared 11."""
    costs = np.array([[1.0, 2.0], [3.0, 2.0], [4.0, 2.0], [6.0, 2.0], [10.0, 2.0]])
    predicted = np.array([[1.0, 2.0], [4.0, 2.0], [4.0, 2.0], [5.0, 2.0], [7.0, 2.0]])
    scores = np.array([[1.0, 0.0]] * 5)
    found = judged(scores, scores, costs, predicted, np.array([4.0, 2.0]))["predicted_costs"]
    first, second = found["members"].values()
    assert first["r2"]["mean"] == pytest.approx(1 - 11 / 50)
    assert first["calibration"]["mean"] == pytest.approx(21 / 24)
    assert first["calibration_train_mean"]["mean"] == pytest.approx(20 / 24)
    assert [fifth["mean"] for fifth in first["fifths"]] == pytest.approx([1, 4 / 3, 1, 5 / 6, 7 / 10])
    assert second["r2"] is None  # there is nothing to predict, and nothing is
    assert second["fifths"] is None
    assert (second["calibration"], first["head"], found["on_validation"]) == (
        dict.fromkeys(first["r2"], 1.0),
        None,
        None,
    )
    assert found["r2"]["mean"] == pytest.approx(1 - 11 / 50)
    assert found["calibration"]["mean"] == pytest.approx(31 / 34)


def test_train_means_have_no_section():
    scores, rewards, costs, _, means = arrays()
    assert judged(scores, rewards, costs, None, means)["predicted_costs"] is None


def test_only_known_costs_count_whoever_has_a_reward():
    scores, rewards, costs, predicted, means = arrays()
    known = np.random.default_rng(5).random(costs.shape) < 0.8
    rewards[3] = np.nan
    unknown = np.full(costs.shape, np.nan)
    held = HeldOut(
        members=("a", "b", "c"), scores=scores, category_scores=None, costs=np.where(known, costs, means),
        targets=Targets(rewards, np.isfinite(rewards).astype(np.int64), unknown, unknown), predicted_costs=predicted,
        train_mean_reward=np.zeros(3), train_mean_cost=means, groups=np.arange(len(costs)), scale="reward",
        costs_known=known,
    )  # fmt: skip
    found = evaluate(held, LambdaPolicy(0.0), SETTINGS)["predicted_costs"]
    for m, row in enumerate(found["members"].values()):
        here = known[:, m]
        true, guess = costs[here, m], predicted[here, m]
        r2 = 1 - ((true - guess) ** 2).sum() / ((true - means[m]) ** 2).sum()
        assert row["r2"]["mean"] == pytest.approx(r2)
        assert row["r2"]["low"] < r2 < row["r2"]["high"]
        parts = np.array_split(np.argsort(guess), 5)
        assert [each["mean"] for each in row["fifths"]] == pytest.approx(
            [guess[part].mean() / true[part].mean() for part in parts]
        )
    assert found["r2"]["mean"] == pytest.approx(np.mean([row["r2"]["mean"] for row in found["members"].values()]))
    rewards = np.where(np.arange(3) == 2, np.nan, rewards)
    no_prompt_has_all = replace(held, targets=Targets(rewards, np.isfinite(rewards).astype(np.int64), unknown, unknown))
    alone = evaluate(no_prompt_has_all, LambdaPolicy(0.0), SETTINGS)["predicted_costs"]
    assert (alone["members"]["a"]["r2"], alone["train_means"]) == (found["members"]["a"]["r2"], None)


def test_what_they_buy_is_the_difference_to_runs_that_decide_by_other_costs():
    scores, rewards, costs, predicted, means = arrays(n=400)
    found = judged(scores, rewards, costs, predicted, means)
    for name, others in (("train_means", means), ("true_costs", costs)):
        told = found["predicted_costs"][name]
        area = judged(scores, rewards, costs, others, means)["audc"]["router"]
        assert told["audc"] == pytest.approx(area, rel=1e-12)
        assert told["gain"]["mean"] == pytest.approx(found["audc"]["router"] - area, abs=1e-12)
        assert told["gain"]["low"] < told["gain"]["mean"] < told["gain"]["high"]
    assert found["predicted_costs"]["train_means"]["gain"]["low"] > 0  # predictions are of what is expected


@pytest.mark.parametrize(("n", "read_first"), [(30, 0.0), (200, 0.0), (200, 1.5)])
def test_the_interval_of_what_they_buy_is_that_of_whole_curves_drawn_again(n, read_first):
    """With 30 prompts every point of the curves is kept; with 200 they are thinned."""
    scores, rewards, costs, predicted, means = arrays(n=n, seed=2)
    held = HeldOut(
        members=("a", "b", "c"), scores=scores, category_scores=None, costs=costs,
        targets=Targets(rewards, np.ones(costs.shape, dtype=np.int64), *np.full((2, *costs.shape), np.nan)),
        predicted_costs=predicted, train_mean_reward=np.zeros(3), train_mean_cost=means, groups=np.arange(n),
        scale="reward", read_first=read_first,
    )  # fmt: skip
    rng, drawn = np.random.default_rng(0), []
    for _ in range(1500):
        again = held.take(rng.integers(0, n, n))
        areas = []
        for of in (again, replace(again, predicted_costs=means)):
            curve = of.curve()
            areas.append(audc(curve.cost, curve.reward, *again.means))
        drawn.append(areas[0] - areas[1])
    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf(0.025, n - 1))
    found = evaluate(held, LambdaPolicy(0.0), {**SETTINGS, "draws": 3000})["predicted_costs"]["train_means"]["gain"]
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # A curve that is drawn again has a running maximum of its own: what is kept of it differs by some of the spread.
    assert found["low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert found["high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_areas_of_rows_are_those_of_each():
    rng = np.random.default_rng(3)
    cost, reward = rng.uniform(0, 4, (50, 7)), rng.normal(size=(50, 7))
    members, rewards = rng.uniform(1, 3, (50, 4)), rng.normal(size=(50, 4))
    members[1] = 2.0
    members[2, 1:3] = members[2].min()  # several cheapest
    each = [audc(*row) for row in zip(cost, reward, members, rewards, strict=True)]
    np.testing.assert_allclose(audc_of_rows(cost, reward, members, rewards), each, rtol=1e-12)
    assert np.isnan(each[1])


@pytest.mark.parametrize("head", ["linear", "log", "null"])
def test_a_run_tells_what_predicts_and_its_report_what_it_buys(tmp_path, head):
    made = erp.train([*QUICK, "data.prompts=150", "cost.predict=true", f"cost.head={head}", f"out={tmp_path}"])
    found = json.loads((made.folder / "results.json").read_text())["predicted_costs"]
    heads = {row["head"] for row in found["members"].values()}
    tried = found["on_validation"]
    if head != "null":
        assert heads == {head}
    else:
        best = min((1.0, "mean"), (tried["linear"], "linear"), (tried["log"], "log"))
        assert heads == {best[1]}
    assert (tried["log"] is None) == (head == "linear")
    text = (made.folder / "report.md").read_text()
    assert "## Predicted costs" in text
    assert "Along the curve, at true cost and with the same scores, AUDC is" in text
    worse = [name for name, row in found["members"].items() if row["r2"]["mean"] < 0]
    assert ("Worse than the train mean here: " in text) == bool(worse)
    again = erp.train([*QUICK, "data.prompts=60", f"out={tmp_path}"])
    assert again.results["predicted_costs"] is None
    assert "## Predicted costs" not in (again.folder / "report.md").read_text()
