"""Scores of a router of one's own, judged as those of `erp train` are."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import erp

QUICK = ["backbone=hashing", "tracking=off", "figures=false", "bootstrap.draws=500"]


def arrays(n=400, m=3, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, m)) + np.arange(m) / 4
    return scores, scores + rng.normal(size=(n, m)), np.array([1.0, 2.0, 5.0])


def test_a_run_s_own_scores_give_its_own_numbers(tmp_path):
    made = erp.train(["router=ridge", f"out={tmp_path}", *QUICK])
    rows = pd.read_parquet(made.folder / "predictions.parquet").query("split == 'test'")
    members = made.results["run"]["members"]
    table = {
        name: rows.pivot_table(index="prompt_id", columns="model", values=name)[members]
        for name in ("predicted", "observed", "predicted_cost", "cost")
    }
    keys = pd.read_parquet(made.folder / "split.parquet").set_index("prompt_id")["group_key"]
    state = torch.load(made.folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    found = erp.evaluate_scores(
        table["predicted"], table["observed"], table["cost"], predicted_costs=table["predicted_cost"],
        train_rewards=state["train_mean_reward"].numpy(), train_costs=state["train_mean_cost"].numpy(),
        members=members, groups=keys[table["cost"].index], bootstrap={"draws": 500},
    )  # fmt: skip
    for row in ("router", "best_single", "oracle", "random"):
        told = made.results["routing"][row]
        for key in ("reward", "cost", "headroom_recovered"):
            assert found["routing"][row][key] == pytest.approx(told[key], rel=1e-9), (row, key)
        for end in ("mean", "low", "high"):  # other draws
            assert found["routing"][row]["gain_vs_best_single"][end] == pytest.approx(
                told["gain_vs_best_single"][end], abs=0.01
            )
    assert found["audc"]["router"] == pytest.approx(made.results["audc"]["router"], rel=1e-9)
    assert found["prediction"]["r2_pooled"] == pytest.approx(made.results["prediction"]["r2_pooled"], rel=1e-9)


def test_by_hand():
    scores, rewards, costs = arrays()
    found = erp.evaluate_scores(scores, rewards, costs, train_rewards=[0.0, 1.0, 0.5], lambda_=0.3)
    rows = np.arange(len(scores))
    free, priced = scores.argmax(axis=1), (scores - 0.3 * costs).argmax(axis=1)
    assert found["routing"]["best_single"]["reward"] == pytest.approx(rewards[:, 1].mean(), rel=1e-12)
    assert found["routing"]["router"]["reward"] == pytest.approx(rewards[rows, free].mean(), rel=1e-12)
    assert found["routing"]["router"]["cost"] == pytest.approx(costs[free].mean(), rel=1e-12)
    assert found["policy"]["reward"] == pytest.approx(rewards[rows, priced].mean(), rel=1e-12)
    gain = rewards[rows, free] - rewards[:, 1]
    interval = found["routing"]["router"]["gain_vs_best_single"]
    assert interval["mean"] == pytest.approx(gain.mean(), rel=1e-12)
    half = 1.96 * gain.std(ddof=1) / math.sqrt(len(gain))
    assert interval["high"] - interval["low"] == pytest.approx(2 * half, rel=0.1)


def test_members_may_come_in_any_order():
    scores, rewards, costs = arrays(seed=1)
    train = np.array([0.1, 0.3, 0.2])
    order = np.array([2, 0, 1])
    one = erp.evaluate_scores(scores, rewards, costs, train_rewards=train)
    other = erp.evaluate_scores(scores[:, order], rewards[:, order], costs[order], train_rewards=train[order])
    assert other["routing"]["router"]["reward"] == pytest.approx(one["routing"]["router"]["reward"], rel=1e-12)
    assert other["audc"]["router"] == pytest.approx(one["audc"]["router"], rel=1e-12)


def test_missing_rewards_and_orders():
    scores, rewards, costs = arrays(seed=2)
    rewards[::3, 1] = np.nan
    found = erp.evaluate_scores(scores, rewards, costs, train_rewards=[0, 0, 1], ordinal=True)
    kept = ~np.isnan(rewards).any(axis=1)
    assert found["routing"]["best_single"]["reward"] == pytest.approx(rewards[kept, 2].mean(), rel=1e-12)
    assert found["overlaps"] is not None
    assert found["prediction"]["r2_pooled"] is None


@pytest.mark.parametrize(("change", "words"), [
    ({"rewards": np.zeros((3, 2))}, "rewards: shape"),
    ({"costs": np.zeros(2)}, "costs: shape"),
    ({"costs": [1, 2, np.nan]}, "costs: not finite"),
    ({"train_rewards": [1.0]}, "train_rewards: shape"),
    ({"costs": np.ones((400, 3))}, "train_costs: are required"),
    ({"members": ["a", "a", "b"]}, "members: 2 names for 3"),
    ({"groups": [1, 2]}, "groups: shape"),
    ({"scores": np.full((400, 3), np.inf)}, "scores: not finite"),
    ({"lambda_": -1.0}, "lambda"),
    ({"bootstrap": {"level": 95}}, "level"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(change, words):
    scores, rewards, costs = arrays()
    given = {"scores": scores, "rewards": rewards, "costs": costs, "train_rewards": [0, 0, 1], **change}
    with pytest.raises(erp.ErpError, match=words):
        erp.evaluate_scores(**given)
