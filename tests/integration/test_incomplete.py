"""Tables in which not every member answered every prompt."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from erp.table.complete import complete_pool, rewarded
from erp.table.read import read_table
from tests.integration.tables import long_frame, results


def pairs_only(table, prompts=300) -> pd.DataFrame:
    """Each prompt answered by 2 of 6 members."""
    frame = long_frame(prompts=prompts, members=6)
    names, ids = sorted(frame["model"].unique()), sorted(frame["prompt_id"].unique())
    pairs = list(combinations(names, 2))
    kept = {(ids[i], name) for i in range(prompts) for name in pairs[i % len(pairs)]}
    frame = frame[[key in kept for key in zip(frame["prompt_id"], frame["model"], strict=True)]]
    frame.to_parquet(table)
    return frame


def few_labels(table, labels=3) -> str:
    """One member with rewards on three prompts only; its name."""
    frame = long_frame(members=4)
    name = sorted(frame["model"].unique())[1]
    few = frame["prompt_id"].isin(sorted(frame["prompt_id"].unique())[:labels])
    frame[(frame["model"] != name) | few].to_parquet(table)
    return name


def test_test_prompts_without_any_reward_are_refused_before_anything_is_learnt(erp, quick, table, tmp_path):
    answer = erp("train", *quick, "figures=false")
    split = pd.read_parquet(f"{answer.last}/split.parquet").set_index("prompt_id")["split"]
    frame = long_frame()
    frame.assign(reward=frame["reward"].where(frame["prompt_id"].map(split) != "test")).to_parquet(table)
    refused = erp("train", *quick, f"split.from={answer.last}", "out=again")
    assert refused.code == 2
    assert len(refused.faults) == 1
    assert "has a reward of" in refused.err
    assert not (tmp_path / "again").exists()


def test_a_pool_is_made_of_members_that_share_prompts(erp, quick, table):
    """Every two members share 20 prompts: a pool of two is what there is to compare."""
    pairs_only(table)
    answer = erp("train", *quick, "figures=false", "pool.complete=auto")
    assert answer.code == 0, answer.err
    found = results(answer.last)
    assert len(found["run"]["members"]) == 2
    split = pd.read_parquet(f"{answer.last}/split.parquet").set_index("prompt_id")["split"]
    frame = pd.read_parquet(table)
    of_pool = frame[frame["model"].isin(found["run"]["members"])].groupby("prompt_id")["model"].nunique()
    both = sum(of_pool[prompt] == 2 for prompt in split.index[split == "test"])
    assert found["data"]["test"] - found["data"]["excluded"] == both > 0
    assert "pool.complete=auto dropped " in answer.out
    for name in set(long_frame(members=6)["model"]) - set(found["run"]["members"]):
        assert name in answer.out
    again = erp("evaluate", f"run={answer.last}")
    assert again.code == 0, again.err
    assert results(again.last)["routing"]["router"] == found["routing"]["router"]
    assert erp("describe", *quick[:2], "pool.complete=auto").code == 0


def test_who_costs_test_prompts_is_said_and_can_be_left_out(erp, quick, table):
    name = few_labels(table, labels=40)
    answer = erp("train", *quick, "figures=false")
    assert answer.code == 0, answer.err
    data = results(answer.last)["data"]
    split = pd.read_parquet(f"{answer.last}/split.parquet").set_index("prompt_id")["split"]
    frame = pd.read_parquet(table)
    has = set(frame.loc[frame["model"] == name, "prompt_id"])
    lost = sum(prompt not in has for prompt in split.index[split == "test"])
    assert data["lacking"] == {name: lost}
    assert (
        f"{lost} of {data['test']} test prompts lack a reward of some member, so that not all are compared on them: "
        f"{name} on {lost}" in answer.out
    )
    assert "pool.complete=auto leaves out" in answer.out
    auto = erp("train", *quick, "figures=false", "pool.complete=auto")
    assert auto.code == 0, auto.err
    assert name not in results(auto.last)["run"]["members"]
    assert results(auto.last)["data"]["excluded"] == 0
    assert f"pool.complete=auto dropped {name} (40 prompts with rewards)" in auto.out
    # the same pool by name is the same run
    members = ",".join(results(auto.last)["run"]["members"])
    assert len(members.split(",")) == 3


def test_describe_names_members_by_what_they_lack(erp, table):
    name = few_labels(table)
    arguments = ["describe", "data=table", f"data.path={table}"]
    assert f"{name} on 237 of 240" in erp(*arguments).out
    assert json.loads(erp(*arguments, "output=json").out)["lacking"] == {name: 237}


def test_a_whole_table_loses_nobody(erp, quick):
    plain = erp("train", *quick, "figures=false")
    auto = erp("train", *quick, "figures=false", "pool.complete=auto")
    assert auto.last == plain.last
    assert "not compared" not in plain.out
    assert results(plain.last)["data"]["lacking"] == {}


@pytest.mark.parametrize("seed", range(6))
def test_the_pool_is_complete_on_half_its_prompts_or_has_two_members(tmp_path, seed):
    rng = np.random.default_rng(seed)
    frame = long_frame(prompts=60, members=6, samples=1)
    share = dict(zip(sorted(frame["model"].unique()), rng.uniform(0.1, 1, 6), strict=True))
    kept = frame[rng.random(len(frame)) < frame["model"].map(share)]
    kept.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    pool = complete_pool(table)
    assert [name for name in table.members if name in pool.members] == list(pool.members)  # their order stays
    has = rewarded(pool)
    assert len(pool.members) == 2 or 2 * has.all(axis=1).sum() >= len(pool.prompts)
    cells = kept[kept["model"].isin(pool.members)].groupby("prompt_id")["model"].nunique()
    assert (cells == len(pool.members)).sum() == has.all(axis=1).sum()
    kept.sample(frac=1, random_state=seed).to_parquet(tmp_path / "t.parquet")
    assert complete_pool(read_table(tmp_path / "t.parquet")).members == pool.members
