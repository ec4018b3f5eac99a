"""Tables of means against the single responses behind them: what follows must be the same numbers."""

import numpy as np
import pandas as pd
import pytest

from erp.evaluation.description import describe
from erp.table.read import read_table
from erp.table.samples import separate_samples
from erp.targets import expected_reward, noise_of_means, reliability, split_half_oracle


def attempts(seed=0, prompts=80, members=3, k=10, unequal=False) -> pd.DataFrame:
    """Single 0/1 attempts, K a cell, or 3 to K."""
    random = np.random.default_rng(seed)
    rows = []
    for prompt in range(prompts):
        for member in range(members):
            p = random.beta(0.8, 0.6)
            for j in range(random.integers(3, k + 1) if unequal else k):
                rows.append((f"prompt {prompt}", f"m{member}", j, float(random.random() < p), "xy"[prompt % 2]))
    return pd.DataFrame(rows, columns=["prompt", "model", "sample", "reward", "category"])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    of = rows.groupby(["prompt", "model", "category"])["reward"]
    return of.agg(reward="mean", n_samples="size", spread="var").reset_index()


def read(rows, tmp_path, name="t", **options):
    rows.to_parquet(tmp_path / f"{name}.parquet", index=False)
    return read_table(tmp_path / f"{name}.parquet", **options)


def test_shares_and_ceilings_of_means_of_attempts_are_those_of_the_attempts(tmp_path):
    for k, unequal in ((10, False), (7, False), (9, True)):
        rows = attempts(k=k, unequal=unequal)
        found = describe(read(means(rows).drop(columns="spread"), tmp_path), None, {"draws": 50})
        wanted = describe(read(rows, tmp_path), None, {"draws": 50})
        assert found["noise"]["reason"] is None
        assert found["samples_per_cell"] == wanted["samples_per_cell"]
        for key in ("reliability", "reliability_pooled"):
            assert found["noise"][key] == pytest.approx(wanted["noise"][key], abs=1e-9)
        assert found["noise"]["components"]["shares"] == pytest.approx(
            wanted["noise"]["components"]["shares"], abs=1e-9
        )
        for key in ("pooled", "lowest", "highest"):
            of = found["noise"]["reliability_of_differences"][key]
            assert of == pytest.approx(wanted["noise"]["reliability_of_differences"][key], abs=1e-9)
        # two means over 200 random halves of the same attempts
        error = np.hypot(found["split_half_oracle_sd"], wanted["split_half_oracle_sd"]) / np.sqrt(200)
        assert abs(found["split_half_oracle"] - wanted["split_half_oracle"]) < 4 * error
        assert found["split_half_oracle"] < found["oracle"] - 0.005


def test_the_split_half_oracle_of_means_is_its_expectation_by_the_hypergeometric_distribution(tmp_path):
    """Two members, half of five: every pair of numbers of wins in the half that chooses, weighted by hand."""
    from scipy.stats import hypergeom

    won = np.array([[4, 1], [2, 3], [5, 4], [1, 1], [3, 3]])
    rows = [(f"p{i}", f"m{m}", won[i, m] / 5, 5) for i in range(5) for m in range(2)]
    table = read(pd.DataFrame(rows, columns=["prompt_id", "model", "reward", "n_samples"]).assign(prompt="a"), tmp_path)
    expected = []
    for a, b in won:
        total = 0.0
        for i in range(3):
            for j in range(3):
                weight = hypergeom(5, a, 2).pmf(i) * hypergeom(5, b, 2).pmf(j)
                total += weight * ((a - i) / 3 if i >= j else (b - j) / 3)  # a tie goes by pool order
        expected.append(total)
    found = split_half_oracle(table, np.arange(5), repeats=40_000)
    assert found.reward == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(40_000))


@pytest.mark.parametrize("decimals", [3, 4, 6])
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_rounded_means_are_recognised(tmp_path, decimals, kind):
    rows = means(attempts(k=9, unequal=True)).drop(columns="spread")
    exact = read(rows, tmp_path)
    rounded = read(rows.assign(reward=rows["reward"].round(decimals).astype(kind)), tmp_path)
    assert reliability(expected_reward(rounded)) == pytest.approx(reliability(expected_reward(exact)), abs=2e-3)
    assert separate_samples(rounded, np.arange(80)).reward.shape == (80, 3, 9)


def test_several_means_of_a_cell_are_one_mean_of_all(tmp_path):
    rows = attempts(k=10)
    halves = rows.assign(prompt_half=rows["sample"] < 4)
    of = halves.groupby(["prompt", "model", "category", "prompt_half"])["reward"]
    parts = of.agg(reward="mean", n_samples="size").reset_index().assign(sample=lambda f: f["prompt_half"].astype(int))
    one, two = expected_reward(read(rows, tmp_path)), expected_reward(read(parts, tmp_path))
    assert two.mean == pytest.approx(one.mean, abs=1e-12)
    assert two.variance == pytest.approx(one.variance, abs=1e-12)


@pytest.mark.parametrize("column", ["reward_sd", "reward_var"])
def test_a_told_spread_gives_the_same_reliability_and_shares(tmp_path, column):
    random = np.random.default_rng(3)
    rows = attempts(k=6, unequal=True)
    rows["reward"] = 3 * rows["reward"] + random.normal(size=len(rows))
    told = means(rows)
    told[column] = told["spread"] if column == "reward_var" else np.sqrt(told["spread"])
    wanted = describe(read(rows, tmp_path), None, {"draws": 50})
    found = describe(read(told.drop(columns="spread"), tmp_path), None, {"draws": 50})
    assert found["noise"]["reliability"] == pytest.approx(wanted["noise"]["reliability"], abs=1e-9)
    assert found["noise"]["components"]["shares"] == pytest.approx(wanted["noise"]["components"]["shares"], abs=1e-9)
    assert found["split_half_oracle"] == pytest.approx(wanted["split_half_oracle"], abs=0.05)  # as if normal
    assert separate_samples(read(told.drop(columns="spread"), tmp_path), np.arange(80)) is None  # nothing was drawn


def test_of_two_responses_a_told_spread_is_the_responses_themselves(tmp_path):
    random = np.random.default_rng(4)
    rows = attempts(k=2).assign(reward=lambda f: random.normal(size=len(f)))
    wanted = split_half_oracle(read(rows, tmp_path), np.arange(80), repeats=4000)
    told = means(rows).rename(columns={"spread": "reward_var"})
    found = split_half_oracle(read(told, tmp_path), np.arange(80), repeats=4000)
    assert found.mean == pytest.approx(wanted.mean, abs=4 * np.hypot(found.sd, wanted.sd) / np.sqrt(4000))


@pytest.mark.parametrize(("change", "said"), [
    (lambda f: f.assign(reward=f["reward"] * 5 + 3), r"reward x n_samples is not a whole number .* in 240 rows"),
    (lambda f: f.assign(reward=f["reward"].round()), "all are exactly 0 or 1"),
    (lambda f: f.assign(reward=np.random.default_rng(0).random(len(f)).round(3)), "is not a whole number"),
])  # fmt: skip
def test_means_of_anything_else_say_why_nothing_is_known(tmp_path, change, said):
    rows = change(means(attempts()).drop(columns="spread"))
    noise = describe(read(rows, tmp_path), None, {"draws": 50})["noise"]
    assert noise["reason"].startswith("not identifiable from means: 240 of 240 rewards are means of several responses")
    assert pd.Series([noise["reason"]]).str.contains(said).all()
    assert noise["reliability_pooled"] is None
    assert noise["headroom"]["split_half"] is None


def test_responses_inside_means_are_no_degrees_of_freedom(tmp_path):
    """A cell's variance of two single responses weighs 1, whatever means stand beside them."""
    rows = [
        ("p", "m", 0, 10.0, 1), ("p", "m", 1, 12.0, 1), ("p", "m", 2, 11.5, 50),  # variance 2, 1 degree
        ("q", "m", 0, 0.0, 1), ("q", "m", 1, 4.0, 1), ("q", "m", 2, 8.0, 1),  # variance 16, 2 degrees
        ("r", "m", 0, 5.0, 4),  # takes the pooled one: (2 + 2 * 16) / 3
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["prompt_id", "model", "sample", "reward", "n_samples"])
    table = read(frame.assign(prompt=frame["prompt_id"]), tmp_path)
    targets = expected_reward(table)
    assert targets.variance[:, 0] == pytest.approx([2, 16, np.nan], nan_ok=True)
    noise = [2 / 52, 16 / 3, 34 / 3 / 4]
    assert noise_of_means(targets)[:, 0] == pytest.approx(noise)
    observed = np.var([(22 + 575) / 52, 4.0, 5.0], ddof=1)
    assert reliability(targets)[0] == pytest.approx(1 - np.mean(noise) / observed)
