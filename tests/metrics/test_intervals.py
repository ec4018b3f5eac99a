import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from erp.errors import ErpError
from erp.metrics.headroom import headroom_recovered
from erp.metrics.intervals import GroupBootstrap


def brute_force(groups, values, draws, seed):
    """The same draws, one group list at a time."""
    names = np.unique(groups)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        taken = [values[groups == names[g]] for g in rng.integers(0, len(names), len(names))]
        means.append(np.concatenate(taken).mean(axis=0))
    tail = ndtr(np.sqrt(1 + 1 / (len(names) - 1)) * stdtrit(len(names) - 1, 0.025))
    return np.quantile(means, [tail, 1 - tail], axis=0)


@pytest.mark.parametrize("block_cells", [1 << 21, 100])
def test_equals_a_brute_force_bootstrap_on_the_same_draws(monkeypatch, block_cells):
    monkeypatch.setattr("erp.metrics.intervals.BLOCK_CELLS", block_cells)
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 12, 40) * 10 - 7  # any codes, unequal sizes
    values = rng.normal(size=(40, 2))
    got = GroupBootstrap(groups, draws=500, seed=3).intervals(values)
    low, high = brute_force(groups, values, 500, 3)
    assert [i.mean for i in got] == pytest.approx(values.mean(axis=0))
    assert [i.low for i in got] == pytest.approx(low, rel=1e-12)
    assert [i.high for i in got] == pytest.approx(high, rel=1e-12)


def test_all_columns_and_calls_share_the_draws():
    values = np.random.default_rng(1).normal(size=(50, 3))
    bootstrap = GroupBootstrap(np.arange(50), draws=200)
    together = bootstrap.intervals(values)
    assert [bootstrap.interval(values[:, d]).low for d in range(3)] == pytest.approx([i.low for i in together])
    assert bootstrap.interval(values[:, 0]) == bootstrap.interval(values[:, 0])
    assert GroupBootstrap(np.arange(50), draws=200, seed=1).intervals(values) != together


def test_close_to_the_normal_interval_of_many_prompts():
    values = np.random.default_rng(2).normal(size=2000)
    got = GroupBootstrap(np.arange(2000), draws=4000).interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert [got.low, got.high] == pytest.approx([got.mean - half, got.mean + half], abs=0.06 * half)


def test_repeated_prompts_in_groups_do_not_narrow_the_interval():
    values = np.random.default_rng(3).normal(size=100)
    once = GroupBootstrap(np.arange(100), draws=500).interval(values)
    thrice = GroupBootstrap(np.repeat(np.arange(100), 3), draws=500).interval(np.repeat(values, 3))
    assert [thrice.mean, thrice.low, thrice.high] == pytest.approx([once.mean, once.low, once.high])


def test_zero_differences_give_exactly_zero():
    got = GroupBootstrap(np.array([0, 0, 1, 2, 5]), draws=100).interval(np.zeros(5))
    assert (got.mean, got.low, got.high) == (0.0, 0.0, 0.0)


def test_one_group_has_a_mean_and_no_interval():
    got = GroupBootstrap(np.zeros(4, dtype=int), draws=100).interval(np.arange(4.0))
    assert got.mean == 1.5
    assert np.isnan([got.low, got.high]).all()


def test_bad_input_is_refused():
    with pytest.raises(ErpError, match="no prompts to resample"):
        GroupBootstrap(np.array([], dtype=int))
    with pytest.raises(ErpError, match="draws = 0"):
        GroupBootstrap(np.arange(3), draws=0)
    with pytest.raises(ErpError, match="level = 95"):
        GroupBootstrap(np.arange(3), level=95)
    for values in (np.zeros(2), np.zeros((3, 1)), np.array([0.0, np.nan, 1.0])):
        with pytest.raises(ErpError, match="one finite number for each of 3 prompts"):
            GroupBootstrap(np.arange(3)).interval(values)


def test_covers_the_true_mean_difference_as_often_as_it_says():
    rng = np.random.default_rng(4)
    tables, n = 300, 200
    hits = 0
    for seed in range(tables):
        difference = rng.normal(0.1, 1, n) * (rng.random(n) < 0.3)  # most prompts: both rows choose the same member
        got = GroupBootstrap(np.arange(n), draws=500, seed=seed).interval(difference)
        hits += got.low <= 0.03 <= got.high
    assert 0.92 <= hits / tables <= 0.98  # 95% +/- 2.4 standard errors


def test_ratios_resample_both_together():
    rng = np.random.default_rng(5)
    below = rng.uniform(1, 2, 60)
    bootstrap = GroupBootstrap(np.arange(60), draws=300)
    rows = np.stack([0.25 * below, rng.normal(size=60)], axis=1)
    got, other = bootstrap.ratios(rows, below)
    assert [got.mean, got.low, got.high] == pytest.approx([0.25] * 3, rel=1e-12)  # proportional: no spread at all
    assert other.mean == pytest.approx(rows[:, 1].mean() / below.mean())
    assert bootstrap.ratios(rows[:, 1:], below)[0].low == pytest.approx(other.low, rel=1e-12)
    assert np.isnan([i.mean for i in bootstrap.ratios(rows, np.zeros(60))]).all()


def test_headroom_of_the_oracle_is_one_and_of_the_best_single_exactly_zero():
    rng = np.random.default_rng(6)
    rewards = rng.normal(size=(200, 3))
    best, top = rewards[:, 0], rewards.max(axis=1)
    rows = np.stack([best, top, np.where(np.arange(200) % 2, top, best)], axis=1)
    bootstrap = GroupBootstrap(np.arange(200), draws=500)
    zero, one, half = headroom_recovered(rows, best, top, bootstrap)
    assert (zero.mean, zero.low, zero.high) == (0.0, 0.0, 0.0)
    assert (one.mean, one.low, one.high) == (1.0, 1.0, 1.0)
    assert half.low < half.mean < half.high
    assert half.mean == pytest.approx((top - best)[1::2].sum() / (top - best).sum())


def test_no_headroom_no_share():
    best = np.random.default_rng(7).normal(size=50)
    bootstrap = GroupBootstrap(np.arange(50), draws=200)
    rows = best[:, None] + 1
    assert headroom_recovered(rows, best, best, bootstrap) is None
    assert headroom_recovered(rows, best, best + np.random.default_rng(8).normal(size=50), bootstrap) is None
    assert headroom_recovered(rows, best, best - 1, bootstrap) is None  # an oracle clearly below the best single
    assert headroom_recovered(rows, best, best + 1, GroupBootstrap(np.zeros(50, dtype=int), draws=10)) is None
