"""Targets against pandas, hand-worked numbers, the method's worked example and the real tables' known facts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from erp.table.read import read_table
from erp.table.samples import separate_samples
from erp.table.synthetic import Synthetic
from erp.targets import Targets, expected_reward, reliability, samples_per_cell, split_half_oracle


def read(tmp_path, **columns):
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    return read_table(tmp_path / "t.parquet")


def test_means_are_weighted_and_variances_come_from_separate_samples(tmp_path):
    table = read(
        tmp_path,
        prompt=["p"] * 8,
        model=["a", "a", "a", "b", "b", "c", "d", "d"],
        reward=[1.0, 2.0, 6.0, 1.0, 4.0, 5.0, 2.0, np.nan],
        n_samples=[1, 1, 1, 1, 3, 10, 1, 1],
    )
    targets = expected_reward(table)
    assert targets.mean.tolist() == [[3.0, 3.25, 5.0, 2.0]]
    assert targets.count.tolist() == [[3, 4, 10, 1]]
    assert targets.count.dtype == np.int64
    assert targets.variance[0, 0] == 7.0  # (4 + 1 + 9) / 2
    assert targets.standard_error[0, 0] == pytest.approx(np.sqrt(7 / 3))
    assert np.isnan(targets.variance[0, 1:]).all()
    assert np.isnan(targets.standard_error[0, 1:]).all()
    assert targets.complete.tolist() == [True]
    assert samples_per_cell(targets) == (1, 10)


def test_against_pandas(tmp_path):
    table, _ = Synthetic(prompts=60, members=4, samples=5, missing=0.3).draw()
    table.samples.loc[::7, "reward"] = np.nan
    targets = expected_reward(table)
    cells = table.samples.groupby(["prompt", "member"])["reward"]
    index = pd.MultiIndex.from_product([range(60), range(4)])
    for got, want in (
        (targets.mean, cells.mean()),
        (targets.variance, cells.var()),
        (targets.standard_error, cells.sem()),
        (targets.count, cells.count().reindex(index, fill_value=0)),
    ):
        assert np.allclose(got, want.reindex(index).to_numpy(dtype=float).reshape(60, 4), equal_nan=True, rtol=1e-12)
    assert targets.complete.tolist() == (~np.isnan(targets.mean)).all(axis=1).tolist()


def test_variance_of_large_rewards(tmp_path):
    table = read(tmp_path, prompt=["p"] * 3, model=["a"] * 3, reward=[1e9, 1e9 + 1, 1e9 + 2])
    assert expected_reward(table).variance[0, 0] == 1.0


def worked_example(n, k, seed=0):
    """The method's worked example: means and variances of K samples, five members."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 2, (n, 1))
    gamma = 0.7 * np.sqrt(0.5) * (rng.standard_normal((n, 5)) + rng.standard_normal((n, 5)))
    mu = a + np.array([-0.5, -0.25, 0, 0.25, 0.5]) + gamma
    y = mu[:, :, None] + 1.5 * rng.standard_normal((n, 5, k))
    variance = y.var(axis=2, ddof=1)
    return Targets(y.mean(axis=2), np.full((n, 5), k), variance, np.sqrt(variance / k)), y


@pytest.mark.parametrize(("k", "rho"), [(4, 0.8887), (8, 0.9411), (16, 0.9696), (32, 0.9846)])
def test_reliability_of_the_worked_example(k, rho):
    targets, _ = worked_example(20_000, k)
    assert np.allclose(reliability(targets), rho, atol=0.004)
    first = reliability(targets, np.arange(1000))
    assert np.allclose(first, rho, atol=0.02)
    assert not np.allclose(first, reliability(targets), atol=1e-6)


def test_reliability_is_not_identified_at_k1_or_without_variance():
    table, _ = Synthetic(prompts=20, samples=1).draw()
    assert np.isnan(reliability(expected_reward(table))).all()
    table, _ = Synthetic(prompts=20, samples=1, missing=0.5).draw()
    assert split_half_oracle(table, np.arange(20)) is None
    table, _ = Synthetic(prompts=5, samples=2, noise=0, hidden=0, signal=0).draw()
    assert np.isnan(reliability(expected_reward(table))).all()
    one, _ = Synthetic(prompts=1, samples=3).draw()
    assert np.isnan(reliability(expected_reward(one))).all()


def sampled(k, seed=0, averaged=None):
    """Targets of mu ~ N(0, 1), noise 1, with k (n, m) samples per cell; `averaged` cells know no variance."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((*k.shape, 1)) + rng.standard_normal((*k.shape, k.max()))
    y = np.where(np.arange(k.max()) < k[:, :, None], y, np.nan)
    mean = np.nanmean(y, axis=2)
    alone = (k < 2) | (False if averaged is None else averaged)
    variance = np.where(alone, np.nan, ((y - mean[:, :, None]) ** 2 * np.isfinite(y)).sum(axis=2, where=np.isfinite(y))
                        / np.maximum(k - 1, 1))  # fmt: skip
    return Targets(mean, k, variance, np.sqrt(variance / k))


def test_reliability_counts_the_cells_of_one_sample():
    k = np.where(np.random.default_rng(1).random((40_000, 2)) < 0.6, 1, 4)
    # n = .6 + .4 / 4 = .7, V = 1.7. The cells of four samples alone would give .8.
    assert np.allclose(reliability(sampled(k)), 1 / 1.7, atol=0.01)
    mixed = np.random.default_rng(2).integers(1, 6, (40_000, 2))
    assert np.allclose(reliability(sampled(mixed)), 1 / (1 + (1 / mixed).mean()), atol=0.01)


def test_reliability_of_means_takes_the_pooled_variance():
    rng = np.random.default_rng(3)
    k = np.full((40_000, 1), 4)
    averaged = rng.random(k.shape) < 0.5
    k[averaged] = 2
    assert np.allclose(reliability(sampled(k, averaged=averaged)), 1 / (1 + (1 / k).mean()), atol=0.01)
    assert np.isnan(reliability(sampled(k, averaged=np.ones(k.shape, dtype=bool)))).all()


def test_reliability_by_hand():
    nan = np.nan
    # Pooled variance (2 * 1 + 8 * 3) / 4 = 6.5; n = (2 / 2 + 8 / 4 + 6.5 / 1) / 3; V = var(0, 3, 9) = 21.
    targets = Targets(
        np.array([[0.0], [3.0], [9.0], [nan]]), np.array([[2], [4], [1], [0]]),
        np.array([[2.0], [8.0], [nan], [nan]]), np.array([[1.0], [np.sqrt(2)], [nan], [nan]]),
    )  # fmt: skip
    assert reliability(targets) == pytest.approx([1 - 9.5 / 3 / 21], rel=1e-12)


def table_of_samples(y):
    n, m, k = y.shape
    table, _ = Synthetic(prompts=n, members=m, samples=k).draw()
    table.samples["reward"] = y.ravel()
    return table


@pytest.mark.parametrize(("k", "gain"), [(4, 0.0662), (8, 0.1854)])
def test_split_half_oracle_of_the_worked_example(k, gain):
    _, y = worked_example(20_000, k, seed=1)
    found = split_half_oracle(table_of_samples(y), np.arange(len(y)), repeats=10)
    # the gain is over member 5; sd of a mean over 20,000 prompts of a difference of about 2 is .015
    assert found.mean - y[:, 4].mean() == pytest.approx(gain, abs=0.04)
    assert 0 < found.sd < 0.05


def test_split_half_oracle_by_hand():
    # two samples: one chooses, the other scores. Member 1 wins on sample 0 only, so every half scores 0 or its mirror
    y = np.array([[[0.0, 0.0], [1.0, -1.0]]])
    found = split_half_oracle(table_of_samples(y), np.array([0]), repeats=400)
    # choosing on 1 takes member 1, scored -1; choosing on -1 takes member 0, scored 0
    assert found.mean == pytest.approx(-0.5, abs=0.1)
    tie = np.array([[[3.0, 3.0], [3.0, 3.0]], [[1.0, 1.0], [2.0, 2.0]]])
    found = split_half_oracle(table_of_samples(tie), np.array([1, 0]))
    assert (found.mean, found.sd) == (2.5, 0.0)
    assert (found.reward.tolist(), found.rows.tolist()) == ([2.0, 3.0], [1, 0])


def test_split_half_oracle_of_every_prompt_is_the_mean_over_all_its_halves():
    y = np.random.default_rng(4).normal(size=(6, 3, 2))
    found = split_half_oracle(table_of_samples(y), np.arange(6), repeats=4000)
    # Two samples: which of them chooses, for each member by itself; each of the 8 ways is as likely.
    ways = np.array(list(product((0, 1), repeat=3)))
    for i in range(6):
        choosing, scoring = y[i][np.arange(3), ways], y[i][np.arange(3), 1 - ways]
        each = scoring[np.arange(8), choosing.argmax(axis=1)]
        assert found.reward[i] == pytest.approx(each.mean(), abs=5 * each.std() / np.sqrt(4000) + 1e-12)
    assert found.reward.mean() == pytest.approx(found.mean, rel=1e-12)


def test_split_half_oracle_with_unequal_counts_and_incomplete_prompts():
    table, _ = Synthetic(prompts=40, members=3, samples=5, noise=0.0, hidden=0.0).draw()
    table.samples.loc[table.samples.index % 5 == 4, "reward"] = np.nan  # K = 4
    table.samples.loc[table.samples.index % 25 == 3, "reward"] = np.nan  # K = 3 in some cells
    table.samples.loc[table.samples["prompt"] == 7, "reward"] = np.nan
    table.samples.loc[(table.samples["prompt"] == 9) & (table.samples["sample"] > 0), "reward"] = np.nan
    found = split_half_oracle(table, np.arange(40))
    used = np.delete(np.arange(40), [7, 9])
    best = np.nanmax(expected_reward(table).mean[used], axis=1)
    assert found.reward == pytest.approx(best)  # no noise: halves agree
    assert found.mean == pytest.approx(best.mean())
    assert found.sd == pytest.approx(0, abs=1e-12)
    assert found.rows.tolist() == used.tolist()
    assert split_half_oracle(table, np.array([7, 9])) is None


def test_separate_samples_by_hand(tmp_path):
    nan = np.nan
    table = read(
        tmp_path,
        prompt_id=["p", "p", "p", "q", "q", "q", "r", "r", "s", "s", "s", "s", "s"],
        prompt=["p", "p", "p", "q", "q", "q", "r", "r", "s", "s", "s", "s", "s"],
        model=["a", "b", "b", "a", "b", "b", "a", "b", "a", "a", "a", "b", "b"],
        reward=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, nan, 8.0, 9.0, 10.0, 11.0, 12.0],
        n_samples=[1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 5],
    )
    # q has only a mean of a, r no reward of b; s keeps three of a and, beside a mean, one of b.
    found = separate_samples(table, np.array([3, 2, 1, 0]))
    assert found.rows.tolist() == [3, 0]
    assert found.count.tolist() == [[3, 1], [1, 2]]
    want = [[[8, 9, 10], [11, nan, nan]], [[1, nan, nan], [2, 3, nan]]]
    np.testing.assert_array_equal(found.reward, want)
    # K is of the prompts that are taken; a prompt may be taken twice.
    twice = separate_samples(table, np.array([0, 0]))
    np.testing.assert_array_equal(twice.reward, [[[1, nan], [2, 3]]] * 2)
    assert separate_samples(table, np.array([1, 2])) is None
    assert separate_samples(table, np.array([], dtype=np.int64)) is None


def test_separate_samples_against_pandas():
    table, _ = Synthetic(prompts=50, members=3, samples=4, missing=0.1).draw()
    table.samples.loc[np.random.default_rng(0).random(len(table.samples)) < 0.3, "reward"] = np.nan
    found = separate_samples(table, np.arange(50))
    cells = table.samples.dropna(subset="reward").groupby(["prompt", "member"])["reward"].agg(list)
    whole = [i for i in range(50) if all((i, m) in cells.index for m in range(3))]
    assert found.rows.tolist() == whole
    assert 0 < len(whole) < 50
    for i, row in enumerate(whole):
        for m in range(3):
            assert found.reward[i, m, : found.count[i, m]].tolist() == cells[row, m]
            assert np.isnan(found.reward[i, m, found.count[i, m] :]).all()


def test_separate_samples_of_one_each_and_of_means():
    table, _ = Synthetic(prompts=5, members=2, samples=1).draw()
    found = separate_samples(table, np.arange(5))
    assert found.reward[:, :, 0].tolist() == expected_reward(table).mean.tolist()
    table.samples["n_samples"] = 3
    assert separate_samples(table, np.arange(5)) is None


FACTS = {
    "llmrouter9": (5989, 0, 0.4270, 0.6197, "llama-3.1-nemotron-51b-instruct", 0.7984, 0.6668),
    "alpaca_eval": (797, 10, 0.1093, 0.7056, "FuseChat-Gemma-2-9B-Instruct", 0.8670, 0.7108),
    "routellm2": (15334, 0, 0.7437, 0.8103, "gpt-4-1106-preview", 0.8647, 0.8159),
    "zeroeval": (2840, 0, 0.6687, 0.9356, "o1-mini-2024-09-12", 0.9831, 0.9384),
    "humaneval3x10": (164, 0, 0.6896, 0.8482, "gpt-4", 0.9073, 0.8482),
}


@pytest.mark.tables
@pytest.mark.parametrize("name", FACTS)
def test_known_facts_of_the_real_tables(tables, name):
    complete, missing, random, best, best_name, oracle, category_oracle = FACTS[name]
    table = read_table(tables / f"{name}.parquet")
    targets = expected_reward(table)
    rows = np.flatnonzero(targets.complete)
    assert len(rows) == complete
    assert (targets.count == 0).sum() == missing
    mean = targets.mean[rows]
    assert mean.mean() == pytest.approx(random, abs=5e-5)
    assert mean.mean(axis=0).max() == pytest.approx(best, abs=5e-5)
    assert table.members[mean.mean(axis=0).argmax()] == best_name
    assert mean.max(axis=1).mean() == pytest.approx(oracle, abs=5e-5)
    category = table.prompts["category"].to_numpy()[rows]
    by_category = pd.DataFrame(mean).groupby(category).sum().max(axis=1).sum() / len(rows)
    assert by_category == pytest.approx(category_oracle, abs=5e-5)


@pytest.mark.tables
def test_reliability_and_split_half_of_humaneval(tables):
    table = read_table(tables / "humaneval3x10.parquet")
    targets = expected_reward(table)
    assert table.members == ("codellama-34b-instruct", "gpt-3.5-turbo", "gpt-4")
    assert np.allclose(reliability(targets), [0.9858, 0.9758, 0.9717], atol=5e-5)
    found = split_half_oracle(table, np.arange(164))
    assert found.mean == pytest.approx(0.891, abs=0.001)
    assert found.sd == pytest.approx(0.006, abs=0.001)
    assert samples_per_cell(targets) == (10, 10)


@pytest.mark.parametrize(
    ("cell", "binary"),
    [
        ([0.0, 1.0, 1.0], True),
        ([1.0], True),
        ([0.5], False),
        ([0.5, 0.5], False),  # adds up to 1 right of 2
        ([0.0, 2.0], False),
        ([-1.0, 1.0], False),
    ],
)
def test_whether_all_responses_earned_0_or_1(cell, binary):
    samples = np.full((2, 1, 3), np.nan)
    samples[0, 0, :2] = [0.0, 1.0]
    samples[1, 0, : len(cell)] = cell
    assert expected_reward(table_of_samples(samples)).binary is binary
