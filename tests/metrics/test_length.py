import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from erp.errors import ErpError
from erp.metrics.length import length_bias
from tests.metrics.worked import table_of


def table_with(rewards, tokens, n_samples=1):
    """A table of samples (N, M, K) and their tokens, NaN = missing."""
    table = table_of(rewards)
    table.samples["completion_tokens"] = tokens.ravel()
    table.samples["n_samples"] = n_samples
    return table


def made(seed=0, n=25, m=3, k=3, slope=0.0, missing=0.0):
    """Harder prompts and better members get longer answers; beyond that, reward rises by `slope` per log token."""
    rng = np.random.default_rng(seed)
    difficulty, member = rng.normal(size=(n, 1, 1)), np.linspace(-1, 1, m)[None, :, None]
    tokens = np.round(np.exp(4 + difficulty + member + 0.5 * rng.normal(size=(n, m, k))))
    rewards = 2 * difficulty + 3 * member + slope * np.log1p(tokens) + rng.normal(size=(n, m, k))
    rewards[rng.random(rewards.shape) < missing] = np.nan
    return table_with(rewards, tokens)


def bias(table, rows=None, groups=None, draws=200, **settings):
    rows = np.arange(len(table.prompts)) if rows is None else rows
    return length_bias(table, rows, np.arange(len(rows)) if groups is None else groups, draws, **settings)


def known(table, rows):
    """(prompt, member, log length, reward) of the responses with both."""
    s = table.samples.assign(x=np.log1p(table.samples["completion_tokens"]))
    s = s[s["prompt"].isin(rows) & s["reward"].notna() & s["completion_tokens"].notna() & (s["n_samples"] == 1)]
    return s["prompt"].to_numpy(), s["member"].to_numpy(), *s[["x", "reward"]].to_numpy().T


def dummy_residuals(columns, x, y):
    """Residuals of x and y after least squares on an indicator of every value of every column."""
    design = np.concatenate([(c[:, None] == np.unique(c)).astype(float) for c in columns], axis=1)
    both = np.stack([x, y], axis=1)
    return (both - design @ np.linalg.lstsq(design, both, rcond=None)[0]).T


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_equals_the_correlation_of_residuals_of_a_regression_on_dummies(missing):
    table = made(missing=missing, slope=0.4)
    table.samples.loc[3, "completion_tokens"] = np.nan
    table.samples.loc[[5, 40], "n_samples"] = 4
    rows = np.arange(2, 24)[::-1]
    prompt, member, x, y = known(table, rows)
    got = bias(table, rows)
    between = np.corrcoef(*dummy_residuals([prompt, member], x, y))[0, 1]
    cell = prompt * 3 + member
    counts = np.bincount(cell)
    several = counts[cell] >= 2
    within = np.corrcoef(*dummy_residuals([cell[several]], x[several], y[several]))[0, 1]
    assert got.between.mean == pytest.approx(between, abs=1e-10)
    assert got.within.mean == pytest.approx(within, abs=1e-10)
    assert (got.samples, got.cells) == (len(x), (counts >= 2).sum())
    assert (got.between_reason, got.within_reason) == (None, None)


def test_intervals_are_those_of_groups_resampled_with_the_residuals_held():
    table, groups = made(1, slope=0.3), np.arange(25) // 2 * 7
    got = bias(table, groups=groups, seed=3, level=0.9)
    prompt, member, x, y = known(table, np.arange(25))
    for found, columns in ((got.between, [prompt, member]), (got.within, [prompt * 3 + member])):
        x_left, y_left = dummy_residuals(columns, x, y)
        rng, names, drawn = np.random.default_rng(3), np.unique(groups), []
        for _ in range(200):
            taken = names[rng.integers(0, 13, 13)]
            rows = np.concatenate([np.flatnonzero(groups[prompt] == g) for g in taken])
            drawn.append(x_left[rows] @ y_left[rows] / np.sqrt((x_left[rows] ** 2).sum() * (y_left[rows] ** 2).sum()))
        tail = ndtr(np.sqrt(13 / 12) * stdtrit(12, 0.05))  # 13 groups, 90%
        assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [tail, 1 - tail]), rel=1e-9)


def test_difficulty_and_members_that_go_with_length_are_no_bias_and_a_price_for_length_is():
    plain, paid = bias(made(2, n=400), draws=500), bias(made(2, n=400, slope=1.0), draws=500)
    raw = np.corrcoef(*known(made(2, n=400), np.arange(400))[2:])[0, 1]
    assert raw > 0.5
    for found in (plain.between, plain.within):
        assert found.low < 0 < found.high
    # Noise 1 and a slope of 1 on a spread of .5: correlation .5 / sqrt(1.25).
    for found in (paid.between, paid.within):
        assert found.mean == pytest.approx(0.447, abs=0.04)
        assert found.low > 0.3


def test_the_sign_turns_with_the_rewards_and_scale_does_not_matter():
    table, turned = made(3, slope=0.5), made(3, slope=0.5)
    turned.samples["reward"] = 1e6 - 100 * turned.samples["reward"]
    assert bias(turned).between.mean == pytest.approx(-bias(table).between.mean, rel=1e-6)
    assert bias(turned).within.mean == pytest.approx(-bias(table).within.mean, rel=1e-6)


def test_one_sample_per_cell_has_between_only_and_one_member_within_only():
    single = bias(made(4, k=1))
    assert single.between is not None
    assert (single.within, single.cells) == (None, 0)
    assert single.within_reason == "no cell has two responses of known length (K = 1)"
    alone = bias(made(4, m=1, k=2, slope=1.0))
    assert alone.between.mean == pytest.approx(alone.within.mean)  # the prompt is the cell
    both = bias(made(4, m=1, k=1))
    assert both.between is None
    assert both.between_reason == "lengths do not differ given prompt and member"


def test_one_group_has_no_interval_and_one_prompt_no_spread_between():
    got = bias(made(5), groups=np.zeros(25, dtype=int))
    assert np.isfinite(got.between.mean)
    assert np.isnan([got.between.low, got.within.high]).all()
    assert bias(made(5), rows=np.array([4])).within is not None


def test_reasons_why_there_is_none():
    rewards, tokens = np.random.default_rng(6).normal(size=(2, 10, 3, 2))
    tokens = np.round(np.exp(tokens + 3))
    constant = np.ones((10, 3, 2))
    by_cell = tokens[:, :, :1].repeat(2, axis=2)
    cases = {
        "the table has no completion tokens": table_with(rewards, np.full((10, 3, 2), np.nan)),
        "no reward is of a single response": table_with(rewards, tokens, n_samples=4),
        "no response has a reward": table_with(rewards * np.nan, tokens),
        "all lengths are equal": table_with(rewards, constant),
        "all rewards are equal": table_with(constant, tokens),
    }
    for reason, table in cases.items():
        got = bias(table)
        assert (got.between, got.between_reason, got.within, got.within_reason) == (None, reason, None, reason)
        assert (got.samples, got.cells) == (0, 0)
    assert bias(table_with(rewards, tokens), rows=np.zeros(0, dtype=int)).between_reason == "there are no responses"
    assert bias(table_with(rewards, by_cell)).within_reason == "lengths do not differ within cells"
    assert bias(table_with(rewards, by_cell)).between is not None
    assert bias(table_with(np.log1p(by_cell) / 3, tokens)).within_reason == "rewards do not differ within cells"
    # Members of fixed length, prompts of fixed length: both effects together explain every length.
    added = np.expm1(np.arange(10.0)[:, None, None] / 7 + np.arange(3.0)[:, None] / 3 + np.zeros(2))
    assert bias(table_with(rewards, added)).between_reason == "lengths do not differ given prompt and member"


def test_bad_input_is_refused_by_name():
    with pytest.raises(ErpError, match="rows, groups = "):
        bias(made(), groups=np.arange(3))
    with pytest.raises(ErpError, match="draws = 0"):
        bias(made(), draws=0)
