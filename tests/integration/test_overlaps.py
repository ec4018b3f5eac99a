"""What is compared on the prompts that have the rewards, judged by pandas from what the run folder holds."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from tests.integration.tables import long_frame, results


def thinned(frame: pd.DataFrame, kept) -> pd.DataFrame:
    """The cells (prompt, member) that are kept, all of their samples."""
    cells = frame[["prompt_id", "model"]].drop_duplicates()
    return frame.merge(cells[kept(cells)])


def most_cells(cells):
    return np.random.default_rng(0).random(len(cells)) < 0.75


def one_member_is_rare(cells):
    names, ids = sorted(cells["model"].unique()), sorted(cells["prompt_id"].unique())
    return (cells["model"] != names[1]) | cells["prompt_id"].isin(ids[:60])


def two_of_six(cells):
    """Every prompt has two members, each pair as often as any other."""
    pairs = list(combinations(sorted(cells["model"].unique()), 2))
    place = {prompt: i for i, prompt in enumerate(sorted(cells["prompt_id"].unique()))}
    return [name in pairs[place[p] % len(pairs)] for p, name in zip(cells["prompt_id"], cells["model"], strict=True)]


def two_of_six_at_random(cells):
    return cells.assign(draw=np.random.default_rng(1).random(len(cells))).groupby("prompt_id")["draw"].rank() <= 2


def two_camps(cells):
    """Three members on even prompts, three on odd ones: no prompt joins the camps."""
    names = sorted(cells["model"].unique())
    place = {prompt: i % 2 for i, prompt in enumerate(sorted(cells["prompt_id"].unique()))}
    return cells["model"].map(names.index) // 3 == cells["prompt_id"].map(place)


def three_labels(cells):
    names, ids = sorted(cells["model"].unique()), sorted(cells["prompt_id"].unique())
    return (cells["model"] != names[1]) | cells["prompt_id"].isin(ids[:3])


NO_COMPLETE_PROMPT = [two_of_six, two_of_six_at_random, two_camps]


def wide(folder) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Observed and predicted rewards of the test prompts by member, and whom the router chooses for each."""
    frame = pd.read_parquet(f"{folder}/predictions.parquet")
    test = frame[frame["split"] == "test"]
    observed, predicted = (
        pd.DataFrame({name: rows.set_index("prompt_id")[value] for name, rows in test.groupby("model")})
        for value in ("observed", "predicted")
    )
    return observed, predicted, predicted.idxmax(axis=1)


def like_student(found, values):
    """An interval of a mean, against Student's; these bootstrap draws are few."""
    values = values.dropna()
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-12)
    if len(values) >= 10 and values.std() > 0:
        half = t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
        assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.3)


def judge(found, observed, chosen):
    """Every number of the section ``overlaps``, by hand."""
    of_choice = pd.Series({prompt: observed.loc[prompt, name] for prompt, name in chosen.items()})
    assert set(found["members"]) == set(observed.columns)
    for name, row in found["members"].items():
        assert row["prompts"] == observed[name].count()
        assert row["share"] == pytest.approx((chosen == name).mean())
        like_student(row["reward"], observed[name])
        gain = of_choice - observed[name]
        assert row["shared"] == gain.count()
        if row["shared"]:
            like_student(row["difference"], gain)
        else:
            assert row["difference"]["mean"] is None
        other = gain[chosen != name].dropna()
        both = {k: (observed[k].notna() & observed[name].notna()).mean() for k in observed.columns}
        if any(both[k] == 0 for k in set(chosen) - {name}) or (other.empty and (chosen != name).any()):
            assert row["weighted"]["mean"] is None
            continue
        weights = [1 / both[chosen[prompt]] for prompt in other.index]
        total = sum(weights) + (chosen == name).sum()
        assert row["weighted"]["mean"] == pytest.approx(np.dot(weights, other) / total, abs=1e-12)
    judge_pairs(found["pairs"], observed)


def judge_pairs(pairs, observed):
    for pair in pairs:
        first, second = pair["members"]
        less = observed[first] - observed[second]
        assert pair["prompts"] == less.count()
        if pair["prompts"]:
            like_student(pair["difference"], less)
        else:
            assert pair["difference"] == {"mean": None, "low": None, "high": None}
    assert {frozenset(pair["members"]) for pair in pairs} == set(map(frozenset, combinations(observed.columns, 2)))


@pytest.mark.parametrize("kept", [most_cells, one_member_is_rare])
def test_members_are_compared_on_the_prompts_that_both_have(erp, quick, table, kept):
    thinned(long_frame(members=4), kept).to_parquet(table)
    answer = erp("train", *quick, "figures=false", "router=ridge")
    assert answer.code == 0, answer.err
    observed, _, chosen = wide(answer.last)
    assert observed.notna().all(axis=1).any()
    assert not observed.notna().all(axis=1).all()
    found = results(answer.last)
    judge(found["overlaps"], observed, chosen)
    report = Path(answer.last, "report.md").read_text()
    assert "## On the prompts that have the rewards" in report
    assert "has nothing to do with the prompt" in report
    again = erp("evaluate", f"run={answer.last}")
    assert again.code == 0, again.err
    assert results(again.last)["overlaps"] == found["overlaps"]


@pytest.mark.parametrize("kept", [*NO_COMPLETE_PROMPT, three_labels])
def test_describe_compares_members_on_the_prompts_that_both_have(erp, table, kept):
    frame = thinned(long_frame(prompts=300, members=6), kept)
    frame.to_parquet(table)
    said = erp("describe", "data=table", f"data.path={table}", "backbone=hashing", "bootstrap.draws=1000")
    assert said.code == 0, said.err
    facts = json.loads(erp("describe", "data=table", f"data.path={table}", "backbone=hashing", "output=json").out)
    observed = frame.groupby(["prompt_id", "model"])["reward"].mean().unstack("model")  # noqa: PD010
    for name, row in facts["overlaps"]["members"].items():
        assert row["prompts"] == observed[name].count()
        like_student(row["reward"], observed[name])
        assert f"{row['prompts']:,} prompts" in next(
            line for line in said.out.splitlines() if name in line and "less" not in line and " prompts " in line
        )
    judge_pairs(facts["overlaps"]["pairs"], observed)
    whole = observed.dropna()
    assert facts["complete_prompts"] == len(whole)
    needs_whole = ["random", "best_single", "best_single_member", "oracle", "category_oracle", "member_means"]
    if len(whole):
        assert facts["reason"] is None
        assert facts["best_single"] == pytest.approx(whole.mean().max())
    else:
        assert [facts[key] for key in needs_whole] == [None] * len(needs_whole)
        assert facts["noise"]["headroom"]["naive"] is None
        assert "pool.complete=auto" in facts["reason"]
        assert facts["reason"] in said.out


def test_describe_of_a_member_without_rewards(erp, table):
    frame = long_frame(members=3)
    name = frame["model"].iloc[0]
    frame.assign(reward=frame["reward"].where(frame["model"] != name)).to_parquet(table)
    said = erp("describe", "data=table", f"data.path={table}", "backbone=hashing", "output=json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts["lacking"] == {name: 240}
    assert facts["overlaps"]["members"][name] == {"prompts": 0, "reward": dict.fromkeys(("mean", "low", "high"))}
    observed = frame.groupby(["prompt_id", "model"])["reward"].mean().unstack("model")  # noqa: PD010
    judge_pairs(facts["overlaps"]["pairs"], observed.assign(**{name: np.nan}))
    assert erp("describe", "data=table", f"data.path={table}", "backbone=hashing").code == 0


def test_describe_of_a_whole_table_has_nothing_to_say_of_overlaps(erp, table):
    facts = json.loads(erp("describe", "data=table", f"data.path={table}", "backbone=hashing", "output=json").out)
    assert facts["overlaps"] is None
    assert facts["reason"] is None


NEEDS_WHOLE_PROMPTS = ["routing", "policy", "equal_cost", "curves", "audc", "economics", "shares", "regret"]


@pytest.mark.parametrize("kept", NO_COMPLETE_PROMPT)
def test_without_a_complete_prompt_the_router_is_judged_on_overlaps(erp, quick, table, kept):
    thinned(long_frame(prompts=300, members=6), kept).to_parquet(table)
    answer = erp("train", *quick, "router=ridge")
    assert answer.code == 0, answer.err
    found = results(answer.last)
    observed, _, chosen = wide(answer.last)
    judge(found["overlaps"], observed, chosen)
    assert [found[key] for key in NEEDS_WHOLE_PROMPTS] == [None] * len(NEEDS_WHOLE_PROMPTS)
    assert found["data"]["excluded"] == found["data"]["test"] == len(observed)
    for name, row in found["prediction"]["members"].items():
        assert row["r2"] is not None, name
    frame, split = pd.read_parquet(table), pd.read_parquet(f"{answer.last}/split.parquet")
    train = frame[frame["prompt_id"].isin(split.loc[split["split"] == "train", "prompt_id"])]
    cells = train.groupby(["model", "prompt_id"])["reward"].mean()
    assert found["overlaps"]["best_single"] == cells.groupby("model").mean().idxmax()
    assert "No test prompt has a reward of every member" in answer.out
    assert "pool.complete=auto" in answer.out
    report = Path(answer.last, "report.md").read_text()
    assert "## On the prompts that have the rewards" in report
    assert "## At lambda = 0" not in report
    assert "nan" not in report
    again = erp("evaluate", f"run={answer.last}")
    assert again.code == 0, again.err
    assert results(again.last)["overlaps"] == found["overlaps"]


def test_two_camps_that_never_meet_are_not_compared(erp, quick, table):
    frame = thinned(long_frame(prompts=300, members=6), two_camps)
    frame.to_parquet(table)
    found = results(erp("train", *quick, "router=ridge", "figures=false").last)["overlaps"]
    names = sorted(frame["model"].unique())
    for pair in found["pairs"]:
        apart = (names.index(pair["members"][0]) < 3) != (names.index(pair["members"][1]) < 3)
        assert (pair["prompts"] == 0) == apart
    # the router chooses members of both camps, so what it gains over one member is not known of all prompts
    assert all(row["weighted"]["mean"] is None for row in found["members"].values())


@pytest.mark.parametrize("options", [
    ["router=knn"], ["router=stack"], ["router=category_mean"], ["router=mlp", "trainer.max_epochs=2"],
    ["router=zooter", "trainer.max_epochs=2"], ["policy.lambda=0.5"], ["policy=budget"], ["objective=area"],
])  # fmt: skip
def test_every_kind_of_run_ends_without_a_complete_prompt(erp, quick, table, options):
    thinned(long_frame(prompts=300, members=6), two_of_six).to_parquet(table)
    answer = erp("train", *quick, "figures=false", *options)
    assert answer.code == 0, answer.err
    assert results(answer.last)["overlaps"]["members"]


def test_such_a_run_stands_beside_others_in_a_comparison(erp, quick, table, tmp_path):
    thinned(long_frame(prompts=300, members=6), two_of_six).to_parquet(table)
    runs = [erp("train", *quick, "figures=false", f"router={name}").last for name in ("ridge", "knn")]
    said = erp("compare", *runs)
    assert said.code == 0, said.err
    assert "no test prompt has a reward of every member" in said.err
    long_frame().to_parquet(tmp_path / "whole.parquet")
    whole = erp("train", *quick[2:], "data=table", "data.path=whole.parquet", "figures=false").last
    said = erp("compare", *runs, whole)
    assert said.code == 0, said.err


def test_a_whole_table_has_no_such_section(erp, quick):
    answer = erp("train", *quick, "figures=false")
    assert results(answer.last)["overlaps"] is None
    assert "On the prompts that have the rewards" not in Path(answer.last, "report.md").read_text()


def test_the_order_of_the_pool_changes_nothing(erp, quick, table):
    frame = thinned(long_frame(members=4), most_cells)
    frame.to_parquet(table)
    names = sorted(frame["model"].unique())
    found = []
    for pool in (names, names[::-1]):
        answer = erp("train", *quick, "figures=false", "router=ridge", f"pool.members=[{','.join(pool)}]")
        assert answer.code == 0, answer.err
        found.append(results(answer.last)["overlaps"])
    first, second = found
    for name in names:
        assert json.dumps(first["members"][name], sort_keys=True) == json.dumps(second["members"][name], sort_keys=True)
    turned = {tuple(pair["members"]): pair for pair in second["pairs"]}
    for pair in first["pairs"]:
        a, b = pair["members"]
        other = turned[b, a]
        assert pair["prompts"] == other["prompts"]
        assert pair["difference"]["mean"] == pytest.approx(-other["difference"]["mean"], abs=1e-12)
