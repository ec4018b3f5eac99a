"""The tables of many runs, judged by sums by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from erp.evaluation.comparison.tables import CURVES, MEMBERS, curves_table, members_table, runs_table
from tests.contenders import known


@pytest.fixture
def content(results):
    """ridge on split 0 with two seeds, and on splits 1 and 2."""
    made = []
    for i, (split, r2) in enumerate([(0, 0.1), (0, 0.3), (1, 0.5), (2, 0.6)]):
        run = results(seed=split)
        member = run["prediction"]["members"]["small-7b"]
        member |= {"r2": r2, "rmse": r2 / 10, "r2_corrected": {"mean": r2 + 0.1, "low": r2, "high": r2 + 0.3}}
        run["routing"]["members"]["small-7b"] |= {"share": r2, "reward": 10 * r2, "cost": 2 * r2}
        run["data"]["test"] = 100 + i
        made.append((Path(f"runs/{i}"), run))
    return made


def test_means_over_splits_of_means_over_seeds(content):
    frame = members_table(content, known(content))
    assert list(frame.columns) == MEMBERS
    assert list(frame["member"]) == ["tiny-1b", "small-7b", "large-70b", "pooled"]
    row = frame.set_index("member").loc["small-7b"]
    means = [0.2, 0.5, 0.6]  # of the splits
    assert row["r2"] == row["share"] == pytest.approx(np.mean(means))
    assert row["r2_sd"] == pytest.approx(np.std(means, ddof=1))
    for name, expected in {"r2_corrected": 0.1, "r2_corrected_low": 0.0, "r2_corrected_high": 0.3}.items():
        assert row[name] == pytest.approx(np.mean(means) + expected)
    assert row["rmse"] == pytest.approx(np.mean(means) / 10)
    assert row["reward"] == pytest.approx(10 * np.mean(means))
    assert row["cost"] == pytest.approx(2 * np.mean(means))
    assert row["prompts"] == pytest.approx((100.5 + 102 + 103) / 3)
    assert (row["runs"], row["splits"]) == (4, 3)


def test_of_one_seed_every_category_left_out_is_a_split(content):
    for _, run in content:
        run["run"]["split_seed"] = 0
    row = members_table(content, known(content, ["code", "code", "math", "math"])).set_index("member").loc["small-7b"]
    assert (row["runs"], row["splits"]) == (4, 2)
    assert row["r2"] == pytest.approx(np.mean([0.2, 0.55]))
    assert row["r2_sd"] == pytest.approx(np.std([0.2, 0.55], ddof=1))


def test_the_pooled_row_is_all_members_together(content):
    frame = members_table(content[:1], known(content[:1])).set_index("member")
    pooled = frame.loc["pooled"]
    assert (pooled["r2"], pooled["r2_ceiling"], pooled["r2_corrected"]) == (0.33, 0.8, 0.41)
    assert (pooled["r2_corrected_low"], pooled["r2_corrected_high"]) == (pytest.approx(0.38), pytest.approx(0.44))
    assert pooled["reward"] == pytest.approx((0.42 + 1.0 + 0.61) / 3)
    assert math.isnan(pooled["share"])
    assert math.isnan(pooled["r2_sd"]), "one split has no spread"


def test_one_sample_a_cell_has_no_ceiling_and_ranks_have_no_r2(results):
    content = [(Path("runs/k1"), results("single_sample")), (Path("runs/rank"), results("ordinal"))]
    content[1][1]["run"]["router"] = "softmax"
    frame = members_table(content, known(content)).set_index(["contender", "member"])
    for name in ("r2_ceiling", "r2_corrected", "r2_corrected_low"):
        assert frame.loc["ridge", name].isna().all()
    assert frame.loc["ridge", "r2"].notna().all()
    assert frame.loc["softmax", "r2"].isna().all()
    assert frame.loc["softmax", "r2_ceiling"].notna().all()


def test_every_point_of_every_curve(content, results):
    del content[1][1]["curves"]
    frame = curves_table(content, known(content))
    assert list(frame.columns) == CURVES
    assert len(frame) == 3 * 60
    assert set(frame["run"]) == {"0", "2", "3"}
    first = frame[frame["run"] == "0"]
    curve = content[0][1]["curves"]["router"]
    assert first["cost"].tolist() == curve["cost"]
    assert first["reward"].tolist() == curve["reward"]
    assert first["gain"].tolist() == pytest.approx([reward - 0.61 for reward in curve["reward"]])
    assert first["lambda"].iloc[0] == 0
    assert math.isinf(first["lambda"].iloc[-1])
    assert curves_table([], {}).empty


def test_tables_and_reward_models_stay_together(results):
    low, high = results(router=0.62), results(router=0.70)
    high["run"]["table"] = "zzz"
    frame = runs_table([(Path("b"), high), (Path("a"), low)])
    assert frame["table"].tolist() == ["scores.parquet", "zzz"], "a gain on one table says nothing about another"
