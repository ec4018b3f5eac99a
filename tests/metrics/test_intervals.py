import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from erp.decisions.choice import choose, constant, one_hot, outcome
from erp.decisions.references import best_single, oracle
from erp.errors import ErpError
from erp.metrics.draws import MOST_RESAMPLED, bags
from erp.metrics.headroom import headroom_recovered
from erp.metrics.intervals import GroupBootstrap, Interval, better_than_constant
from erp.metrics.significance import bootstrap_p


def brute_draws(groups, values, draws, seed):
    """Means on the same draws, one list of groups at a time."""
    names = np.unique(groups)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        taken = [values[groups == names[g]] for g in rng.integers(0, len(names), len(names))]
        means.append(np.concatenate(taken).mean(axis=0))
    return np.array(means)


def percentiles(drawn, groups):
    freedom = len(np.unique(groups)) - 1
    tail = ndtr(np.sqrt(1 + 1 / freedom) * stdtrit(freedom, 0.025))
    return np.quantile(drawn, [tail, 1 - tail], axis=0)


def brute_force(groups, values, draws, seed):
    return percentiles(brute_draws(groups, values, draws, seed), groups)


@pytest.mark.parametrize(("block_cells", "counted_cells"), [(1 << 22, 1 << 16), (1 << 22, 100), (100, 1), (100, 40)])
def test_equals_a_brute_force_bootstrap_on_the_same_draws(monkeypatch, block_cells, counted_cells):
    monkeypatch.setattr("erp.metrics.draws.BLOCK_CELLS", block_cells)
    monkeypatch.setattr("erp.metrics.draws.COUNTED_CELLS", counted_cells)
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


@pytest.mark.parametrize("groups", [1, 7, MOST_RESAMPLED])
def test_up_to_a_number_of_groups_each_is_resampled_by_itself(groups):
    assert bags(groups).tolist() == list(range(groups))


@pytest.mark.parametrize("groups", [MOST_RESAMPLED + 1, 3 * MOST_RESAMPLED, 1_234_567])
def test_more_groups_are_dealt_into_bags_of_equal_size(groups):
    dealt = bags(groups, seed=5)
    sizes = np.bincount(dealt)
    assert dealt.shape == (groups,)  # every group in one bag
    assert len(sizes) == MOST_RESAMPLED
    assert sizes.max() - sizes.min() <= 1
    assert (dealt == bags(groups, seed=5)).all()
    assert (dealt != bags(groups, seed=6)).mean() > 0.99
    # At random: which bag a group is in says nothing of its place.
    assert abs(np.corrcoef(np.arange(groups), dealt)[0, 1]) < 5 / np.sqrt(groups)


def test_bags_are_resampled_as_groups_are(monkeypatch):
    monkeypatch.setattr("erp.metrics.draws.MOST_RESAMPLED", 12)
    rng = np.random.default_rng(17)
    groups = np.concatenate([np.arange(40), rng.integers(0, 40, 110)]) * 3 - 7
    values = rng.normal(size=(150, 2))
    bootstrap = GroupBootstrap(groups, draws=300, seed=3)
    _, codes = np.unique(groups, return_inverse=True)
    assert (bootstrap.groups, bootstrap.resampled) == (40, 12)
    low, high = brute_force(bags(40, seed=3)[codes], values, 300, 3)
    got = bootstrap.intervals(values)
    assert [i.mean for i in got] == pytest.approx(values.mean(axis=0))
    assert [i.low for i in got] == pytest.approx(low, rel=1e-12)
    assert [i.high for i in got] == pytest.approx(high, rel=1e-12)
    drawn = brute_draws(bags(40, seed=3)[codes], values, 300, 3)
    assert bootstrap.p_values(values) == pytest.approx([bootstrap_p(column, 12) for column in drawn.T], rel=1e-12)
    some = np.flatnonzero(codes < 30)
    assert bootstrap.of(some).intervals(values[some]) == GroupBootstrap(groups[some], 300, 3).intervals(values[some])


def test_intervals_of_bags_are_those_of_the_normal_mean():
    rng = np.random.default_rng(19)
    groups = np.repeat(np.arange(50_000), rng.geometric(0.6, 50_000))
    values = rng.normal(size=50_000)[groups] + rng.normal(size=len(groups))
    got = GroupBootstrap(groups, draws=10_000).interval(values)
    error = np.sqrt((np.bincount(groups, values - values.mean()) ** 2).sum()) / len(groups)  # of a ratio of sums
    assert [got.low, got.high] == pytest.approx([got.mean - 1.96 * error, got.mean + 1.96 * error], abs=0.1 * error)


def test_zero_differences_give_exactly_zero():
    got = GroupBootstrap(np.array([0, 0, 1, 2, 5]), draws=100).interval(np.zeros(5))
    assert (got.mean, got.low, got.high) == (0.0, 0.0, 0.0)


def test_a_router_that_is_the_best_single_gains_exactly_nothing():
    rng = np.random.default_rng(11)
    rewards, costs = rng.normal(size=(90, 3)), rng.uniform(size=(90, 3))
    single = best_single(rewards.mean(axis=0), costs.mean(axis=0))
    base = outcome(constant(single, 90, 3), rewards, costs).reward
    scores = np.eye(3)[[single]].repeat(90, axis=0)
    router = outcome(one_hot(choose(scores, costs, 0.0), 3), rewards, costs).reward
    best = outcome(oracle(rewards, costs), rewards, costs).reward
    bootstrap = GroupBootstrap(np.arange(90) // 2, draws=300)
    gain, other, negative = bootstrap.intervals(np.stack([router - base, best - base, -(router - base)], axis=1))
    share = headroom_recovered(router[:, None], base, best, bootstrap)[0]
    for zero in (gain, negative, share):
        assert str((zero.mean, zero.low, zero.high)) == "(0.0, 0.0, 0.0)"  # and no -0.0
    assert other.low > 0
    assert bootstrap.p_value(router - base) == 1.0


def test_draws_are_the_resampled_means_the_same_in_every_call():
    rng = np.random.default_rng(12)
    groups, values = rng.integers(0, 9, 40), rng.normal(size=(40, 3))
    bootstrap = GroupBootstrap(groups, draws=200, seed=2)
    assert bootstrap.groups == 9
    assert bootstrap.draws(values) == pytest.approx(brute_draws(groups, values, 200, 2), rel=1e-12)
    assert bootstrap.draws(values[:, [1]])[:, 0] == pytest.approx(bootstrap.draws(values)[:, 1], rel=1e-12)


def test_draws_that_cancel_are_zero_and_not_rounding():
    values = np.array([1 / 3, 2 / 3, -1 / 3, -2 / 3, 0.1, -0.1])
    drawn = GroupBootstrap(np.arange(6), draws=2000).draws(values[:, None])[:, 0]
    exact = brute_draws(np.arange(6), np.array([10, 20, -10, -20, 3, -3]), 2000, 0)  # thirtieths, whole numbers
    assert ((drawn == 0) == (exact == 0)).all()
    assert (np.sign(drawn) == np.sign(exact)).all()
    assert 0 < (drawn == 0).sum() < 500


def correlation(means):
    """Of x and y, from the means of x, y, xy, xx, yy."""
    x, y, xy, xx, yy = np.moveaxis(means, -1, 0)
    return ((xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)))[..., None]


def test_functions_of_means_equal_the_statistic_on_every_resample():
    rng = np.random.default_rng(13)
    groups = rng.integers(0, 15, 60)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    got = GroupBootstrap(groups, draws=300, seed=4).of_means(np.stack([x, y, x * y, x * x, y * y], axis=1), correlation)
    names, draw = np.unique(groups), np.random.default_rng(4)
    rows = [np.concatenate([np.flatnonzero(groups == names[g]) for g in draw.integers(0, 15, 15)]) for _ in range(300)]
    low, high = percentiles([np.corrcoef(x[r], y[r])[0, 1] for r in rows], groups)
    assert len(got) == 1
    assert [got[0].mean, got[0].low, got[0].high] == pytest.approx([np.corrcoef(x, y)[0, 1], low, high], rel=1e-9)


def test_functions_of_means_are_intervals_where_they_are_the_means_and_ratios_where_they_divide():
    rng = np.random.default_rng(14)
    values = np.stack([rng.normal(size=50), rng.uniform(1, 2, 50)], axis=1)
    bootstrap = GroupBootstrap(np.arange(50) // 2, draws=200)
    assert bootstrap.of_means(values, lambda means: means) == bootstrap.intervals(values)
    got = bootstrap.of_means(values, lambda means: means[..., :1] / means[..., 1:])[0]
    expected = bootstrap.ratios(values[:, :1], values[:, 1])[0]
    assert [got.mean, got.low, got.high] == pytest.approx([expected.mean, expected.low, expected.high], rel=1e-12)


def test_functions_of_means_that_have_no_value():
    # The one prompt that is not 0 is in 2 of 3 draws or so; the others have no ratio and are left out.
    few = np.array([[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    bootstrap = GroupBootstrap(np.arange(3), draws=100)
    assert bootstrap.of_means(few, lambda means: means[..., :1] / means[..., 1:]) == [Interval(2.0, 2.0, 2.0)]
    never, fine = bootstrap.of_means(few, lambda means: np.stack([means[..., 0] / 0, means[..., 1]], axis=-1))
    assert np.isnan([never.mean, never.low, never.high]).all()
    assert fine.mean == pytest.approx(1 / 3)
    alone = GroupBootstrap(np.zeros(3, dtype=int), draws=10).of_means(few, lambda means: means * 3)
    assert [i.mean for i in alone] == [2.0, 1.0]
    assert np.isnan([i.low for i in alone]).all()


def test_p_values_are_those_of_the_same_draws():
    rng = np.random.default_rng(15)
    groups, values = rng.integers(0, 12, 70), rng.normal([0.3, 0.0, -0.2], 1, (70, 3))
    bootstrap = GroupBootstrap(groups, draws=400, seed=6)
    brute = brute_draws(groups, values, 400, 6)
    assert bootstrap.p_values(values) == pytest.approx([bootstrap_p(brute[:, d], 12) for d in range(3)], rel=1e-12)
    assert bootstrap.p_value(values[:, 2]) == bootstrap.p_values(values)[2]
    assert len(set(bootstrap.p_values(values))) == 3
    assert np.isnan(GroupBootstrap(np.zeros(70, dtype=int), draws=10).p_value(values[:, 0]))
    for call in (bootstrap.p_values, bootstrap.draws, lambda v: bootstrap.of_means(v, lambda means: means)):
        with pytest.raises(ErpError, match="one finite number for each of 70 prompts"):
            call(np.full((70, 1), np.inf))
    with pytest.raises(ErpError, match="one finite number for each of 70 prompts"):
        bootstrap.p_value(values)


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


def coverage(intervals, truth):
    return np.mean([i.low <= truth <= i.high for i in intervals])


def test_covers_the_true_mean_difference_as_often_as_it_says():
    rng = np.random.default_rng(4)
    n, found = 200, []
    for seed in range(100):  # 10 tables to a set of draws
        # Most prompts: both rows choose the same member. The rest is skewed, with mean .2.
        differences = (rng.exponential(1.2, (n, 10)) - 1) * (rng.random((n, 10)) < 0.4)
        found += GroupBootstrap(np.arange(n), draws=1000, seed=seed).intervals(differences)
    assert len(found) == 1000
    assert 0.93 <= coverage(found, 0.4 * 0.2) <= 0.97


def test_covers_the_true_mean_of_clusters_of_prompts_and_ignoring_them_does_not():
    rng = np.random.default_rng(5)
    found, ignorant = [], []
    for seed in range(1000):
        groups = np.repeat(np.arange(60), rng.geometric(0.3, 60))
        values = 0.1 + rng.normal(size=60)[groups] + 0.5 * rng.normal(size=len(groups))  # correlation .8 within
        found.append(GroupBootstrap(groups, draws=1000, seed=seed).interval(values))
        if seed < 200:
            ignorant.append(GroupBootstrap(np.arange(len(groups)), draws=200, seed=seed).interval(values))
    assert 0.93 <= coverage(found, 0.1) <= 0.97
    assert coverage(ignorant, 0.1) < 0.8


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


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "yes"),
        (-0.1, 0.3, "undecided"),
        (0.0, 0.3, "undecided"),
        (-0.3, -0.1, "no"),
        (-0.3, 0.0, "no"),
        (0.0, 0.0, "no"),
        (float("nan"), float("nan"), "undecided"),
    ],
)
def test_verdict(low, high, verdict):
    assert better_than_constant(Interval((low + high) / 2, low, high)) == verdict
