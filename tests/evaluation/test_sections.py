"""Single points, rivals, sampled rows, noise and audits of a report, against plain definitions."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.optimize import linprog

from erp.decisions.alternatives import Cascade, favourite_of_all, run_cascade
from erp.decisions.choice import choose
from erp.decisions.policy import LambdaPolicy
from erp.evaluation.audits import consistency_section
from erp.evaluation.choices import Choices
from erp.evaluation.cross import cross_section
from erp.evaluation.economics import Labels
from erp.evaluation.evaluate import evaluate
from erp.evaluation.held_out import HeldOut
from erp.evaluation.noise import noise_section
from erp.evaluation.points import Chosen, choose_lambdas
from erp.evaluation.routing import Sampled
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.variance import decompose
from erp.table.samples import separate_samples
from erp.table.synthetic import Synthetic
from erp.targets import Targets, expected_reward, samples_per_cell, split_half_oracle
from tests.metrics.worked import table_of, worked_example

SETTINGS = {"draws": 200, "seed": 1, "level": 0.95}
COSTS = np.array([1.0, 3.0, 10.0])


def one_sample(rewards):
    unknown = np.full(rewards.shape, np.nan)
    return Targets(rewards, (~np.isnan(rewards)).astype(int), unknown, unknown)


def held(n=200, seed=0, **changes):
    rng = np.random.default_rng(seed)
    mu = rng.normal([0.3, 0.5, 0.6], 0.4, (n, 3))
    fields = {
        "members": ("a", "b", "c"), "scores": mu + rng.normal(0, 0.2, (n, 3)), "category_scores": None,
        "targets": one_sample(mu + rng.normal(0, 0.1, (n, 3))), "costs": COSTS * rng.uniform(0.5, 1.5, (n, 3)),
        "predicted_costs": COSTS, "train_mean_reward": np.array([0.3, 0.5, 0.6]), "train_mean_cost": COSTS,
        "groups": np.arange(n), "scale": "reward",
    }  # fmt: skip
    return HeldOut(**{**fields, **changes})


def test_the_best_constant_at_equal_cost_is_the_best_mixture_of_that_cost():
    test = held()
    found = evaluate(test, LambdaPolicy(0.02), SETTINGS)["equal_cost"]
    assert set(found) == {"lambda_0", "policy"}
    for name, lambda_ in (("lambda_0", 0.0), ("policy", 0.02)):
        point, chosen = found[name], choose(test.scores, COSTS, lambda_)
        cost, reward = (x[np.arange(200), chosen] for x in (test.costs, test.rewards))
        assert (point["cost"], point["reward"]) == pytest.approx((cost.mean(), reward.mean()))
        best = linprog(
            -test.train_mean_reward, A_ub=test.costs.mean(axis=0)[None], b_ub=[cost.mean()], A_eq=np.ones((1, 3)),
            b_eq=[1.0],
        )  # fmt: skip
        weights = np.array([point["constant"].get(m, 0.0) for m in test.members])
        assert weights == pytest.approx(best.x, abs=1e-7)
        assert point["constant_cost"] == pytest.approx(cost.mean())
        want = GroupBootstrap(test.groups, **SETTINGS).interval(reward - test.rewards @ weights)
        assert point["difference"] == pytest.approx(vars(want))
        assert point["verdict"] == "yes"


def test_a_router_that_is_the_best_single_is_no_better_and_recovers_exactly_nothing():
    test = held(scores=np.broadcast_to([0.0, 0.1, 0.2], (200, 3)).copy())
    found = evaluate(test, LambdaPolicy(0.0), SETTINGS, choose_lambdas(held(seed=5), SETTINGS))
    point = found["equal_cost"]["lambda_0"]
    assert point["constant"] == {"c": 1.0}
    assert point["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert point["verdict"] == "no"
    router = found["routing"]["router"]
    assert router["headroom_recovered"] == 0.0
    assert router["headroom_interval"] == {"low": 0.0, "high": 0.0}
    assert router["p_vs_best_single"] == 1.0
    assert found["perf_gain"]["value"] == 0.0


def test_lambdas_are_chosen_on_validation_and_read_on_test():
    validation, test = held(seed=1), held(seed=2)
    chosen = choose_lambdas(validation, SETTINGS)
    curve = validation.curve()
    best = curve.reward.max()
    assert curve.reward[curve.at(chosen.most_reward)] == best
    found = evaluate(test, LambdaPolicy(0.0), SETTINGS, chosen)
    rows = np.arange(200)
    for name, lambda_ in (("perf_gain", chosen.most_reward), ("cost_save", chosen.same_reward)):
        section = found[name]
        assert section["lambda"] == lambda_
        at = test.curve().at(lambda_)
        assert (section["reward"], section["cost"]) == pytest.approx((test.curve().reward[at], test.curve().cost[at]))
        members = choose(test.scores, COSTS, lambda_ * (1 + 1e-9))
        gained = test.rewards[rows, members] - test.rewards[:, 2]
        assert section["reward_gain"]["mean"] == pytest.approx(gained.mean())
    # What test itself would have chosen is another lambda: it is not looked at.
    assert chosen.most_reward != choose_lambdas(test, SETTINGS).most_reward
    assert found["perf_gain"]["reward"] < test.curve().reward.max()
    saved, gained = found["cost_save"]["cost_saved"]["mean"], found["cost_save"]["reward_gain"]["mean"]
    assert found["cost_save"]["value"] == (pytest.approx(saved) if gained >= 0 else None)


def test_no_lambda_reaches_the_best_single_or_there_is_no_validation():
    bad = held(scores=np.broadcast_to([0.2, 0.1, 0.0], (200, 3)).copy())
    chosen = choose_lambdas(bad, SETTINGS)
    assert chosen.same_reward is None
    found = evaluate(bad, LambdaPolicy(0.0), SETTINGS, chosen)
    assert found["cost_save"] is None
    assert found["perf_gain"]["value"] < 0
    assert choose_lambdas(bad.take(np.array([], dtype=int)), SETTINGS) is None
    without = evaluate(bad, LambdaPolicy(0.0), SETTINGS)
    assert (without["perf_gain"], without["cost_save"]) == (None, None)


def test_what_earns_less_on_test_saves_nothing():
    test = held()
    chosen = Chosen(0.0, math.inf)  # "the same reward" on some validation: the cheapest member
    found = evaluate(test, LambdaPolicy(0.0), SETTINGS, chosen, labels=Labels(1.0, 2.0, 3, None))
    assert found["cost_save"]["value"] is None
    assert found["cost_save"]["cost_saved"]["mean"] > 0
    assert found["economics"]["break_even"]["prompts"] is None
    assert "earns less than the best single" in found["economics"]["break_even"]["reason"]


def test_break_even_by_hand():
    rewards = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    test = held(
        4, members=("cheap", "dear"), scores=rewards, targets=one_sample(rewards), costs=np.tile([1.0, 5.0], (4, 1)),
        predicted_costs=np.array([1.0, 5.0]), train_mean_reward=np.array([0.2, 0.9]),
        train_mean_cost=np.array([1.0, 5.0]),
    )  # fmt: skip
    found = evaluate(test, LambdaPolicy(0.0), SETTINGS, labels=Labels(100.0, 150.0, 80, 1.0))["economics"]
    # three prompts to the cheap member (ties go there), one to the dear one: 2 a prompt, best single 5
    assert found["break_even"] == {"at": "policy", "saving": 3.0, "net_saving": 2.0, "prompts": 50.0, "reason": None}
    assert (found["labels_table"], found["responses"]) == (150.0, 80)
    assert evaluate(test, LambdaPolicy(0.0), SETTINGS)["economics"] is None


def test_pair_and_frontier():
    test = held()
    found = evaluate(test, LambdaPolicy(0.0), SETTINGS)
    pair = found["pair"]
    assert (pair["weak"], pair["strong"]) == ("a", "c")
    assert 0.5 < pair["apgr"] < 1.5  # better than random
    assert 0 < pair["cpt_50"] < pair["cpt_80"] < 1
    assert 0 <= found["pareto"]["router"]["distance"] < 0.01  # only its own points outdo some of its points
    assert found["aiq"]["router"] >= found["audc"]["router"]
    assert set(found["pareto"]) == {"router"}
    shares = np.stack(list(found["shares"]["members"].values()), axis=1)
    assert found["shares"]["dearest"] == pytest.approx(shares[:, 2])
    one = held(members=("a",), **{
        key: getattr(test, key)[..., :1] for key in (
            "scores", "costs", "predicted_costs", "train_mean_reward", "train_mean_cost")
    }, targets=one_sample(test.rewards[:, :1]))  # fmt: skip
    alone = evaluate(one, LambdaPolicy(0.0), SETTINGS, choose_lambdas(one, SETTINGS))
    assert (alone["pair"], alone["pareto"]) == (None, None)
    assert alone["prediction"]["r2_differences"] is None
    assert alone["equal_cost"]["lambda_0"]["verdict"] == "no"


@pytest.fixture
def sampled_table():
    table, _ = Synthetic(prompts=120, members=3, samples=4, seed=3).draw()
    targets = expected_reward(table)
    rows = np.arange(120)
    noisy = targets.mean + np.random.default_rng(0).normal(size=(120, 3))
    test = held(
        120, members=table.members, targets=targets, scores=noisy,
        costs=np.tile(COSTS, (120, 1)), train_mean_reward=targets.mean.mean(axis=0),
    )  # fmt: skip
    return table, targets, rows, test


def test_rows_that_sample_first_stand_at_their_true_cost(sampled_table):
    table, _, rows, test = sampled_table
    samples, halves = separate_samples(table, rows), split_half_oracle(table, rows)
    cascade = Cascade((0, 2), 0.5)
    routing = evaluate(test, LambdaPolicy(0.0), SETTINGS, sampled=Sampled(samples, halves, cascade))["routing"]
    favourite, chain = favourite_of_all(samples, test.costs), run_cascade(cascade, samples, test.costs)
    assert routing["sample_all"]["cost"] == pytest.approx(COSTS.sum())
    assert routing["sample_all"]["reward"] == pytest.approx(favourite.mean_reward)
    assert routing["sample_all"]["reward"] > routing["oracle"]["reward"]  # it keeps the lucky answer
    assert routing["sample_all"]["headroom_recovered"] is None
    assert (routing["cascade"]["reward"], routing["cascade"]["cost"]) == pytest.approx(
        (chain.mean_reward, chain.mean_cost)
    )
    assert routing["cascade"]["chain"] == [table.members[0], table.members[2]]
    single = test.rewards[:, test.single()]
    want = GroupBootstrap(test.groups, **SETTINGS).ratios(
        (test.rewards[rows, test.scores.argmax(axis=1)] - single)[:, None], halves.reward - single
    )[0]
    router = routing["router"]
    if GroupBootstrap(test.groups, **SETTINGS).interval(halves.reward - single).low > 0:
        assert router["headroom_split_half_recovered"] == pytest.approx(want.mean)
        assert router["headroom_split_half_interval"] == pytest.approx({"low": want.low, "high": want.high})
        assert routing["oracle"]["headroom_split_half_recovered"] > 1
    # Some prompts without separate samples: the rows would be of other prompts, and are left out.
    fewer = replace(samples, reward=samples.reward[1:], count=samples.count[1:], rows=samples.rows[1:])
    half = replace(halves, reward=halves.reward[1:], rows=halves.rows[1:])
    routing = evaluate(test, LambdaPolicy(0.0), SETTINGS, sampled=Sampled(fewer, half, cascade))["routing"]
    assert (routing["sample_all"], routing["cascade"]) == (None, None)
    assert (routing["router"]["headroom_split_half_recovered"] is None) == (
        not GroupBootstrap(test.groups[1:], **SETTINGS).interval(half.reward - single[1:]).low > 0
    )


def test_mcnemar_only_where_rewards_are_right_or_wrong_and_prompts_alone():
    rng = np.random.default_rng(0)
    binary = one_sample(rng.integers(0, 2, (200, 3)).astype(float))
    found = evaluate(held(targets=binary), LambdaPolicy(0.0), SETTINGS)["routing"]["router"]
    assert 0 <= found["mcnemar_vs_best_single"] <= 1
    for other in (held(), held(targets=binary, groups=np.arange(200) // 2)):
        assert evaluate(other, LambdaPolicy(0.0), SETTINGS)["routing"]["router"]["mcnemar_vs_best_single"] is None


def test_noise_of_a_table_whose_truth_is_known(sampled_table):
    table, targets, rows, _ = sampled_table
    halves = split_half_oracle(table, rows)
    found = noise_section(table, targets, rows, halves)
    means = targets.mean.mean(axis=0)
    assert found["reason"] is None
    assert sum(found["components"]["shares"].values()) == pytest.approx(1)
    assert found["headroom"]["naive"] == pytest.approx(targets.mean.max(axis=1).mean() - means.max())
    assert found["headroom"]["split_half"] == pytest.approx(halves.mean - means.max())
    pairs = [pair["reliability"] for pair in found["reliability_of_differences"]["pairs"]]
    assert len(pairs) == 3
    assert found["reliability_of_differences"]["lowest"] == min(pairs) < found["reliability_pooled"]
    budget = {point["samples"]: point for point in found["budget"]}
    assert set(budget) == {1, 2, 4, 8, 16}
    assert all(point["prompts"] * point["samples"] == 480 for point in budget.values())
    assert sum(row["prompts"] for row in found["categories"].values()) == 120
    for name, row in found["categories"].items():
        own = rows[(table.prompts["category"] == name).to_numpy()]
        assert row["headroom"]["naive"] == pytest.approx(
            targets.mean[own].max(axis=1).mean() - targets.mean[own].mean(axis=0).max()
        )


def test_noise_by_category_the_largest_first_and_prompts_without_one_left_out():
    y, _ = worked_example(90, 3)
    category = np.array(["code"] * 30 + ["maths"] * 50 + [None] * 10, dtype=object)
    y[35, 2, 0] = np.nan
    y[55:60, :, 2] = np.nan
    table = table_of(y, category)
    targets, rows = expected_reward(table), np.arange(90)
    found = noise_section(table, targets, rows, split_half_oracle(table, rows))["categories"]
    assert list(found) == ["maths", "code"]
    for name, own in {"maths": rows[30:80], "code": rows[:30]}.items():
        known = decompose(targets, own)
        assert found[name]["components"]["variance"] == asdict(known.components)
        assert found[name]["components"]["samples"] == known.samples
    assert found["maths"]["components"]["samples"] == pytest.approx((750 - 26) / 250)
    bare = table_of(y)
    assert noise_section(bare, targets, rows, None)["categories"] is None


def test_one_sample_identifies_nothing_and_says_so():
    table, _ = Synthetic(prompts=60, members=3, samples=1, seed=0, categories=False).draw()
    targets, rows = expected_reward(table), np.arange(60)
    assert samples_per_cell(targets) == (1, 1)
    found = noise_section(table, targets, rows, split_half_oracle(table, rows))
    assert "K=1" in found["reason"]
    assert set(found["reliability"].values()) == {None}
    assert (found["budget"], found["categories"], found["reliability_of_differences"]) == (None, None, None)
    assert found["components"]["shares"] is None
    assert found["headroom"]["split_half"] is None


def test_paraphrases_that_go_the_same_way():
    test = held(6, scores=np.eye(3)[[0, 0, 1, 1, 2, 0]], groups=np.array([0, 0, 1, 1, 2, 2]))
    texts = np.array(list("abcdef"), dtype=object)
    found = consistency_section(test, texts)
    assert (found["groups"], found["prompts"]) == (3, 6)
    assert found["same_member"] == pytest.approx(2 / 3)
    assert consistency_section(replace(test, groups=np.arange(6)), texts) is None


def test_another_reward_model_scores_the_router():
    test = held(seed=4)
    rng = np.random.default_rng(1)
    learnt = test.rewards + rng.normal(0, 0.3, (200, 3))
    own_means = np.array([0.7, 0.1, 0.2])  # by the one that scores, the first member was best on train
    draws = GroupBootstrap(test.groups, **SETTINGS)
    found = cross_section(test, learnt, own_means, draws)
    rows = np.arange(200)
    router = test.rewards[rows, test.scores.argmax(axis=1)]
    favourite = test.rewards[rows, learnt.argmax(axis=1)]
    assert found["router"]["gain"] == pytest.approx(vars(draws.interval(router - test.rewards[:, 2])))
    assert found["favourite"]["gain"] == pytest.approx(vars(draws.interval(favourite - test.rewards[:, 2])))
    assert found["own_best_single"]["member"] == "a"
    assert found["own_best_single"]["router_less_it"]["mean"] == pytest.approx((router - test.rewards[:, 0]).mean())
    agree = np.sign(learnt[:, :, None] - learnt[:, None]) == np.sign(test.rewards[:, :, None] - test.rewards[:, None])
    upper = np.triu_indices(3, 1)
    assert found["agreement"] == pytest.approx(agree[:, upper[0], upper[1]].mean())
    assert cross_section(test, test.rewards, own_means, draws)["agreement"] == 1.0
    assert cross_section(test, learnt, np.full(3, np.nan), draws)["own_best_single"] is None


@pytest.mark.parametrize("threshold", [-math.inf, 0.25, math.inf])
def test_choices_survive_the_results(threshold):
    choices = Choices(Chosen(0.5, None), Cascade((2, 0), threshold))
    plain = choices.as_plain(("a", "b", "c"))
    assert plain["cascade"]["chain"] == ["c", "a"]
    back = Choices.from_plain(plain, ("a", "b", "c"))
    assert back.lambdas == choices.lambdas
    rewards = np.array([-1e300, 0.3, 1e300])
    assert ((rewards >= back.cascade.threshold) == (rewards >= threshold)).all()
    assert Choices.from_plain(Choices(None, None).as_plain(("a",)), ("a",)) == Choices(None, None)


def test_points_are_those_of_the_exact_curve_where_scores_tie():
    """A category mean has few scores: at a breakpoint a whole category changes, and rounding must not decide it."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        means = rng.uniform(size=(4, 3)).round(2)
        scores = means[rng.integers(0, 4, 80)]
        costs = rng.uniform(size=3)
        test = held(
            80, scores=scores, targets=one_sample(scores + rng.normal(0, 0.1, (80, 3))), costs=np.tile(costs, (80, 1)),
            predicted_costs=costs,
        )  # fmt: skip
        chosen, curve = choose_lambdas(test, SETTINGS), test.curve()
        for lambda_ in (chosen.most_reward, chosen.same_reward):
            if lambda_ is not None:
                point = test.outcome(test.choice(lambda_))
                at = curve.at(lambda_)
                assert (point.mean_reward, point.mean_cost) == pytest.approx((curve.reward[at], curve.cost[at]))


def test_where_zero_lies_moves_neither_apgr_nor_cpt():
    base = held()
    found = [
        evaluate(held(scores=base.scores + shift), LambdaPolicy(0.0), SETTINGS)["pair"]
        for shift in (np.zeros(3), np.array([0.0, 0.0, 5.0]), np.array([0.0, 0.0, -5.0]))
    ]
    assert found[0]["apgr"] == pytest.approx(found[1]["apgr"]) == pytest.approx(found[2]["apgr"])
    assert found[0]["cpt_80"] == pytest.approx(found[2]["cpt_80"])


def test_the_headroom_bracket_is_of_the_same_prompts():
    """Thirty easy prompts with one sample, ten with two: what one end knows of, so does the other."""
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"p{i}", "model": m, "sample": j, "reward": float(rng.normal())}
        for i in range(40) for m in "ab" for j in range(1 if i < 30 else 2)
    ]  # fmt: skip
    table = read_rows(rows)
    targets = expected_reward(table)
    every = np.arange(40)
    found = noise_section(table, targets, every, split_half_oracle(table, every))["headroom"]
    assert found["prompts"] == 10
    assert found["split_half"] <= found["naive"]


def read_rows(rows):
    import pandas as pd

    from erp.table.read import read_table

    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(rows).to_parquet(f"{folder}/t.parquet")
        return read_table(f"{folder}/t.parquet")
