"""Components of variance against scipy and explicit sums, closed forms, hand-worked numbers and subsampling."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway

from erp.errors import ErpError
from erp.metrics.noise import reliability_of_differences
from erp.metrics.variance import Components, budget_curve, components, decompose, spearman_brown
from erp.table.read import read_table
from erp.targets import expected_reward, reliability
from tests.metrics.worked import BETA, table_of, targets_of, worked_example


def test_worked_example():
    y, _ = worked_example(20_000, 4)
    found = decompose(expected_reward(table_of(y)))
    assert (found.reason, found.prompts, found.of, found.members, found.samples) == (None, 20_000, 20_000, 5, 4)
    parts = found.components
    # Centred over the pool, gamma keeps 4/5 of .49; the rest is shared by all members: 4 + .49 / 5.
    assert parts.prompt == pytest.approx(4.098, abs=0.15)
    assert parts.member == pytest.approx((BETA**2).mean(), abs=0.02)
    assert parts.interaction == pytest.approx(0.392, abs=0.02)
    assert parts.error == pytest.approx(2.25, abs=0.03)
    assert sum(parts.shares.values()) == pytest.approx(1, rel=1e-12)
    assert parts.shares["error"] == pytest.approx(2.25 / (4.098 + 0.125 + 0.392 + 2.25), abs=0.01)


def test_against_sums_of_squares_and_scipy():
    y = np.random.default_rng(0).gamma(2.0, size=(7, 3, 4)) + np.arange(3)[:, None]
    n, m, k = y.shape
    grand, by_prompt, by_member = y.mean(), y.mean(axis=(1, 2)), y.mean(axis=(0, 2))
    ss_prompt = sum(m * k * (x - grand) ** 2 for x in by_prompt)
    ss_member = sum(n * k * (x - grand) ** 2 for x in by_member)
    cells = y.mean(axis=2)
    ss_between = sum(k * (x - grand) ** 2 for x in cells.ravel())
    ms_interaction = (ss_between - ss_prompt - ss_member) / ((n - 1) * (m - 1))
    # scipy's F of a one-way layout of cells gives MS_error
    ms_error = (ss_between / (n * m - 1)) / f_oneway(*y.reshape(-1, k)).statistic
    parts = components(targets_of(y))
    assert parts.error == pytest.approx(ms_error, rel=1e-10)
    assert parts.interaction == pytest.approx((ms_interaction - ms_error) / k * (m - 1) / m, rel=1e-10)
    assert parts.prompt == pytest.approx((ss_prompt / (n - 1) - ms_error) / (k * m), rel=1e-10)
    member = ss_member / (n * k) / m - ms_interaction / (n * k) * (m - 1) / m
    assert parts.member == pytest.approx(member, rel=1e-10)
    # They add up to the variance over all samples, prompts counted by N - 1.
    assert parts.total == pytest.approx(y.var() + by_prompt.var() / (n - 1), rel=1e-10)


def test_by_hand():
    # Cell means [[1, 1], [3, 7]], one off either way in two samples: MS_error 2.
    y = np.array([[1.0, 1.0], [3.0, 7.0]])[:, :, None] + np.array([-1.0, 1.0])
    # Prompt means 1, 5; member means 2, 4; gamma = +-1. MS_prompt 32, MS_interaction 8.
    assert components(targets_of(y)) == Components(
        prompt=30 / 4, member=1 - 8 / 4 / 2, interaction=6 / 2 / 2, error=2.0
    )
    # A component of pure noise may come out below 0.
    assert components(targets_of(np.array([[[0.0, 2.0]], [[0.0, 2.0]]]))).prompt == -1.0


def test_unbiased():
    rng = np.random.default_rng(0)
    beta, gamma = np.array([0.0, 1.0, -1.0]), rng.standard_normal((4000, 5, 3))
    gamma -= gamma.mean(axis=2, keepdims=True)  # var 2/3, over 4,000 tables of five prompts
    mu = 1.5 * rng.standard_normal((4000, 5, 1)) + beta + gamma
    found = [components(targets_of(x)) for x in mu[..., None] + rng.standard_normal((4000, 5, 3, 2))]
    for name, truth in (("prompt", 2.25), ("member", 2 / 3), ("interaction", 2 / 3), ("error", 1.0)):
        values = np.array([getattr(x, name) for x in found])
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(4000))


def ragged(n, members, rng, k=5):
    """Which of k samples each cell has: one to k of them, (n, members, k)."""
    return np.arange(k) < rng.integers(1, k + 1, (n, members, 1))


def test_every_sample_counts_where_cells_have_unequal_numbers():
    rng = np.random.default_rng(1)
    beta, gamma = np.array([0.0, 1.0, -1.0]), rng.standard_normal((3000, 6, 3))
    gamma -= gamma.mean(axis=2, keepdims=True)
    mu = 1.5 * rng.standard_normal((3000, 6, 1)) + beta + gamma
    found = []
    for x in mu[..., None] + rng.standard_normal((3000, 6, 3, 5)):
        has = ragged(6, 3, rng)
        has[0, :, :2] = True  # every member has a cell of two
        found.append(components(targets_of(np.where(has, x, np.nan))))
    for name, truth in (("prompt", 2.25), ("member", 2 / 3), ("interaction", 2 / 3), ("error", 1.0)):
        values = np.array([getattr(x, name) for x in found])
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize("order", ["as drawn", "by reward", "by reward, falling"])
def test_the_order_of_rows_in_a_file_is_no_interaction(tmp_path, order):
    rng = np.random.default_rng(0)
    y = rng.normal(0, 2, (800, 1, 1)) + np.array([0.0, 0.5, 1.0])[:, None] + rng.standard_normal((800, 3, 5))
    prompt, member, sample = np.nonzero(ragged(800, 3, rng))
    frame = pd.DataFrame({"prompt": prompt, "model": member, "reward": y[prompt, member, sample]})
    frame = frame.assign(prompt=frame["prompt"].map("question {}".format), model=frame["model"].map("m{}".format))
    if order != "as drawn":
        frame = frame.sort_values("reward", ascending=order == "by reward")
    frame.to_parquet(tmp_path / "scores.parquet")
    found = decompose(expected_reward(read_table(tmp_path / "scores.parquet")))
    assert (found.prompts, found.of) == (800, 800)
    assert found.samples == pytest.approx(len(frame) / 2400)
    assert abs(found.components.shares["interaction"]) < 0.01
    assert found.components.shares["error"] == pytest.approx(1 / (4 + 1 / 6 + 1), abs=0.02)


def test_means_of_several_count_as_what_they_are():
    y = np.random.default_rng(0).random((6, 2, 3))
    table = table_of(y)
    means = table.samples["prompt"] == 0
    table.samples.loc[means, "n_samples"] = 2
    found = decompose(expected_reward(table))
    assert (found.prompts, found.samples) == (6, 3.5)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.random.default_rng(0).random((9, 2, 1)), "K = 1"),
        (np.full((9, 2, 3), 0.1), "all rewards are equal"),
        (np.random.default_rng(0).random((1, 2, 3)), "only one complete prompt"),
        (np.full((9, 2, 3), np.nan), "no prompt has a reward of every member"),
    ],
)
def test_not_identified(samples, reason):
    found = decompose(expected_reward(table_of(samples)))
    assert found.components is None
    assert reason in found.reason
    assert found.of == len(samples)


def test_large_rewards_keep_their_small_spread():
    y = np.random.default_rng(0).standard_normal((50, 3, 4))
    assert components(targets_of(y + 1e9)).total == pytest.approx(components(targets_of(y)).total, rel=1e-5)


def test_one_member_is_its_reliability():
    y, _ = worked_example(200, 4)
    found = decompose(expected_reward(table_of(y[:, :1])))
    parts = found.components
    assert (parts.member, parts.interaction) == (0, 0)
    rho = parts.prompt / (parts.prompt + parts.error / 4)
    assert reliability(expected_reward(table_of(y[:, :1])))[0] == pytest.approx(rho, rel=1e-10)
    (point,) = budget_curve(parts, 1, 800, [4])
    assert point.reliability == pytest.approx(rho, rel=1e-10)
    assert np.isnan([point.se_difference, point.reliability_of_differences]).all()


def test_of_some_prompts():
    y, _ = worked_example(90, 3)
    y[85, 2, 0] = np.nan
    y[55:, :, 2] = np.nan
    targets = expected_reward(table_of(y))
    assert decompose(targets, np.arange(50)).components == components(targets_of(y[:50]))
    found = decompose(targets, np.arange(50, 80))
    assert (found.prompts, found.of) == (30, 30)
    assert found.samples == pytest.approx((5 * 3 + 25 * 2) / 30, rel=1e-12)


def test_budget_points_are_the_reliabilities_of_the_table():
    y, _ = worked_example(300, 4)
    parts, targets = components(targets_of(y)), expected_reward(table_of(y))
    (point,) = budget_curve(parts, 5, 1200, [4])
    spread = targets.mean.var(axis=0, ddof=1)
    assert point.se_mean == pytest.approx(np.sqrt(spread.mean() / 300), rel=1e-10)
    assert point.reliability == pytest.approx((reliability(targets) * spread).sum() / spread.sum(), rel=1e-10)
    a, b = np.array(list(combinations(range(5), 2))).T
    apart = (targets.mean[:, a] - targets.mean[:, b]).var(axis=0, ddof=1)
    assert point.se_difference == pytest.approx(np.sqrt(apart.mean() / 300), rel=1e-10)
    rho_d = reliability_of_differences(targets)[a, b]
    assert point.reliability_of_differences == pytest.approx((rho_d * apart).sum() / apart.sum(), rel=1e-10)


def test_budget_curve_against_closed_forms():
    parts = Components(prompt=4.098, member=0.125, interaction=0.392, error=2.25)
    points = budget_curve(parts, 5, 64, [1, 4, 8, 16, 32])
    assert [(p.prompts, p.samples) for p in points] == [(64, 1), (16, 4), (8, 8), (4, 16), (2, 32)]
    assert [round(p.reliability, 4) for p in points] == [0.6662, 0.8887, 0.9411, 0.9696, 0.9846]
    assert [round(p.reliability_of_differences, 4) for p in points] == [0.1788, 0.4656, 0.6353, 0.7770, 0.8745]
    for of in ("reliability", "reliability_of_differences"):
        at_one = getattr(points[0], of)
        assert [float(spearman_brown(at_one, p.samples)) for p in points] == pytest.approx(
            [getattr(p, of) for p in points], rel=1e-12
        )
    assert points[1].se_mean == pytest.approx(np.sqrt((4.49 + 2.25 / 4) / 16))
    assert points[1].se_difference == pytest.approx(np.sqrt((0.98 + 4.5 / 4) / 16))
    assert [p.prompts for p in budget_curve(parts, 5, 10, [3])] == [3]
    with pytest.raises(ErpError, match=r"samples = \[11\]"):
        budget_curve(parts, 5, 10, [11])


def test_budget_curve_against_subsampling():
    y, _ = worked_example(6000, 8)
    parts = components(targets_of(y))
    rng = np.random.default_rng(0)
    a, b = np.array(list(combinations(range(5), 2))).T
    for point in budget_curve(parts, 5, 80, [1, 2, 4, 8]):
        rows = rng.integers(0, 6000, (1500, point.prompts))  # prompts as from a population
        keep = rng.permutation(8)[: point.samples]
        drawn = y[:, :, keep].mean(axis=2)[rows]  # (1500, N', 5)
        means = drawn.mean(axis=1)
        assert np.sqrt(means.var(axis=0).mean()) == pytest.approx(point.se_mean, rel=0.06)
        difference = (means[:, a] - means[:, b]).var(axis=0).mean()
        assert np.sqrt(difference) == pytest.approx(point.se_difference, rel=0.06)
        if point.samples > 1:
            targets = expected_reward(table_of(y[:, :, keep]))
            assert reliability(targets).mean() == pytest.approx(point.reliability, abs=0.01)
            rho = reliability_of_differences(targets)[a, b].mean()
            assert rho == pytest.approx(point.reliability_of_differences, abs=0.02)


def test_components_estimated_as_nothing():
    (point,) = budget_curve(Components(-2.0, 0.0, -0.5, 1.0), 2, 4, [2])
    assert all(np.isnan(x) for x in (point.se_mean, point.se_difference, point.reliability))


@pytest.mark.tables
def test_members_of_unequal_k(tables):
    # two members have K = 3, the other 47 K = 5; two of 250 prompts are incomplete
    found = decompose(expected_reward(read_table(tables / "oasst_lengths.parquet")))
    assert (found.prompts, found.of, found.members) == (248, 250, 49)
    assert found.samples == pytest.approx((2 * 3 + 47 * 5) / 49, abs=0.01)
    assert min(found.components.shares.values()) > 0
