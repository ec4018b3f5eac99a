"""`erp extend`: a member joins a trained router, and nothing else changes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import erp as package
from erp import cli
from tests.integration.tables import long_frame, results

NEW = "synthetic-8b"
PROMPTS = ["integral matrix proof", "coffee with a friend", "a poem about rain"]
SETTINGS = [
    "backbone=hashing",
    "backbone.dimensions=64",
    "tracking=off",
    "bootstrap.draws=200",
    "trainer.progress=false",
    "figures=false",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a table of four members, one of the first three, and runs on that."""
    folder = tmp_path_factory.mktemp("extend")
    frame = long_frame(members=4)
    frame.to_parquet(folder / "four.parquet")
    frame[frame["model"] != NEW].to_parquet(folder / "three.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(made):
    """`trained(*arguments)`: the folder of a run on the table of three; the same arguments give the same run."""
    runs: dict[tuple[str, ...], Path] = {}

    def train(*arguments: str) -> Path:
        if arguments not in runs:
            out = made / f"runs{len(runs)}"
            table = ["data=table", f"data.path={made / 'three.parquet'}", f"cache_dir={made / 'cache'}", f"out={out}"]
            assert cli.main(["train", *SETTINGS, *table, *arguments]) == 0
            (runs[arguments],) = (path for path in out.iterdir() if path.is_dir())
        return runs[arguments]

    return train


@pytest.fixture
def extend(erp, made, trained):
    """`extend(*arguments, run=..., table=...)`: what the command says."""

    def run(*arguments: str, run: Path | None = None, table: Path | None = None):
        data = ["data=table", f"data.path={table or made / 'four.parquet'}"]
        return erp("extend", f"run={run or trained()}", *data, f"cache_dir={made / 'cache'}", *arguments)

    return run


def state(folder) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / "checkpoint.ckpt", weights_only=True)["state_dict"]


def split_of(folder) -> pd.DataFrame:
    return pd.read_parquet(Path(folder) / "split.parquet")


def rewards(path) -> pd.DataFrame:
    """Mean rewards by prompt_id and model."""
    return pd.read_parquet(path).pivot_table(index="prompt_id", columns="model", values="reward")


def test_a_member_joins_and_everything_else_is_bit_for_bit_what_it_was(extend, trained):
    base = trained()
    answer = extend("labels=40", "method=shrunk")
    assert answer.code == 0, answer.err
    assert f"{NEW} joined from 40 labels (shrunk)" in answer.out
    before, after = state(base), state(answer.last)
    for name, tensor in before.items():
        if name.startswith("router."):
            same = after[f"router.base.{name.removeprefix('router.')}"]
        elif name == "category_mean.means":
            same = after[name][:, :3].contiguous()
        elif name.startswith("train_mean"):
            same = after[name][:3]
        else:
            same = after[name]
        assert same.dtype == tensor.dtype
        assert same.numpy().tobytes() == tensor.numpy().tobytes(), name
    old, new = package.load(base), package.load(answer.last)
    assert new.members == (*old.members, NEW)
    np.testing.assert_allclose(new.scores(PROMPTS)[list(old.members)], old.scores(PROMPTS), rtol=0, atol=1e-6)
    chosen = new.route(PROMPTS, lambda_=0.0)
    assert list(chosen["member"]) == list(new.scores(PROMPTS).idxmax(axis=1))
    names = {"config.yaml", "checkpoint.ckpt", "predictions.parquet", "results.json", "report.html", "status.json"}
    assert names <= {path.name for path in Path(answer.last).iterdir()}


@pytest.mark.parametrize("router", ["router=knn", "router=category_mean", "router=mlp trainer.max_epochs=2"])
def test_every_kind_of_router_of_reward_units_can_be_extended(extend, trained, router):
    base = trained(*router.split())
    answer = extend("labels=30", run=base)
    assert answer.code == 0, answer.err
    old, new = package.load(base), package.load(answer.last)
    category = [None] * 3 if old.reads_category else None
    there = new.scores(PROMPTS, category)
    np.testing.assert_allclose(there[list(old.members)], old.scores(PROMPTS, category), rtol=0, atol=1e-6)
    assert np.isfinite(there[NEW]).all()


def test_the_labels_are_the_first_of_a_hash_and_never_test(extend, trained):
    part = split_of(trained()).set_index("prompt_id")["split"]
    of = {}
    for arguments in (["labels=20"], ["labels=40"], ["labels=20", "seed=1"]):
        folder = extend("method=scratch", *arguments).last
        split = split_of(folder).set_index("prompt_id")
        assert split["split"].equals(part)
        of[tuple(arguments)] = set(split.index[split["labelled"]])
        assert len(of[tuple(arguments)]) == int(arguments[0].split("=")[1])
        assert set(part[list(of[tuple(arguments)])]) <= {"train", "validation"}
        assert set(pd.read_parquet(Path(folder) / "predictions.parquet")["split"]) == {"test"}
    assert of["labels=20",] < of["labels=40",]
    assert of["labels=20",] != of["labels=20", "seed=1"]
    everything = split_of(extend("method=scratch").last)
    assert everything["labelled"].equals(everything["split"].isin(["train", "validation"]))


def test_the_rest_of_the_rewards_is_not_read(extend, made, trained, tmp_path):
    """Other rewards of the new member: those that are no labels change nothing, those on test only what is measured."""
    first = extend("labels=25").last
    labelled = split_of(first).set_index("prompt_id")["labelled"]
    frame = pd.read_parquet(made / "four.parquet")
    other = (frame["model"] == NEW) & ~frame["prompt_id"].map(labelled)
    frame.loc[other, ["reward", "cost_usd"]] *= -7
    frame.loc[other, "cost_usd"] *= -1
    frame.to_parquet(tmp_path / "other.parquet")
    answer = extend("labels=25", table=tmp_path / "other.parquet")
    assert answer.code == 0, answer.err
    before, after = state(first), state(answer.last)
    assert all(after[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in before.items())
    assert results(answer.last)["extension"]["curve"] != results(first)["extension"]["curve"]


def test_its_means_follow_from_its_labels(extend, made):
    """pandas: the mean reward is told about the others' on the same prompts, cost and category means are plain."""
    folder = extend("labels=30").last
    kept, frame = state(folder), pd.read_parquet(made / "four.parquet")
    split = split_of(folder).set_index("prompt_id")
    ids = split.index[split["labelled"]]
    cell = rewards(made / "four.parquet").loc[ids]
    others = [name for name in cell if name != NEW]
    means = kept["train_mean_reward"].numpy()
    ease = (cell[others] - dict(zip(others, means[:3], strict=True))).mean(axis=1)
    assert means[3] == pytest.approx((cell[NEW] - ease).mean(), rel=1e-9)
    mine = frame[(frame["model"] == NEW) & frame["prompt_id"].isin(ids)]
    cost = mine.groupby("prompt_id")["cost_usd"].mean().mean()
    assert kept["train_mean_cost"].numpy()[3] == pytest.approx(cost, rel=1e-9)
    categories = torch.load(Path(folder) / "checkpoint.ckpt", weights_only=True)["card"]["categories"]
    by_category = mine.groupby(["category", "prompt_id"])["reward"].mean().groupby("category").mean()
    expected = [by_category.get(name, cell[NEW].mean()) for name in categories] + [cell[NEW].mean()]
    np.testing.assert_allclose(kept["category_mean.means"][:, 3], expected, rtol=1e-9)


def test_the_report_compares_methods_by_regret_and_the_numbers_follow_from_predictions(extend, trained):
    folder = Path(extend("labels=40", "method=low_rank").last)
    found = results(folder)
    joined = found["extension"]
    assert (joined["run"], joined["member"], joined["labels"]) == (trained().name, NEW, 40)
    assert joined["method"] == joined["asked"] == "low_rank"
    assert [row["labels"] for row in joined["curve"]] == [16, 32, 40]
    assert joined["curve"][-1]["low_rank"] == joined["regret"] == pytest.approx(found["regret"], abs=1e-12)
    assert joined["curve"][-1]["auto"] in (joined["curve"][-1][name] for name in ("shrunk", "low_rank", "scratch"))
    test = pd.read_parquet(folder / "predictions.parquet")
    predicted = test.pivot_table(index="prompt_id", columns="model", values="predicted")
    observed = test.pivot_table(index="prompt_id", columns="model", values="observed")

    def regret(columns):
        earned = [observed.loc[prompt, member] for prompt, member in predicted[columns].idxmax(axis=1).items()]
        return (observed.max(axis=1) - earned).mean()

    old = [name for name in predicted if name != NEW]
    assert joined["regret"] == pytest.approx(regret(list(predicted)), abs=1e-12)
    assert joined["regret_without"] == pytest.approx(regret(old), abs=1e-12)
    gain = joined["gain_of_joining"]
    assert gain["mean"] == pytest.approx(joined["regret_without"] - joined["regret"], abs=1e-12)
    assert gain["low"] <= gain["mean"] <= gain["high"]
    report = (folder / "report.md").read_text()
    assert f"## The member that joined: {NEW}" in report
    assert "labels=40 method=low_rank seed=0" in report
    router = yaml.safe_load((folder / "config.yaml").read_text())["router"]
    assert (router["run"], router["member"], router["method"], router["labels"]) == (
        trained().name,
        NEW,
        "low_rank",
        40,
    )
    # learnt from three members' train and validation rewards, and 40 of the fourth
    assert any("was learnt from 40 of" in note for note in found["data"]["notes"])


def test_evaluate_compare_and_extend_again_read_the_new_run(erp, extend, made):
    first = extend("labels=30", "out=runs")
    again = extend("labels=30", "out=runs")
    assert again.last == first.last
    assert "finished already" in again.out
    evaluated = erp("evaluate", f"run={first.last}", f"cache_dir={made / 'cache'}")
    assert evaluated.code == 0, evaluated.err
    mine, found = results(first.last), results(evaluated.last)
    for key in ("prediction", "routing", "policy", "curves", "audc", "shares", "regret"):
        assert found[key] == mine[key]
    assert NEW in found["run"]["members"]
    compared = erp("compare", first.last)
    assert compared.code == 0, compared.err
    assert "ridge_extended" in compared.out
    assert "not in the pairs" not in compared.err
    table = pd.read_parquet(made / "four.parquet")
    fifth = table[table["model"] == NEW].assign(model="fifth", reward=lambda rows: rows["reward"] + 0.5)
    pd.concat([table, fifth]).to_parquet("five.parquet")
    twice = extend("labels=20", run=Path(first.last), table=Path("five.parquet"))
    assert twice.code == 0, twice.err
    old, new = package.load(first.last), package.load(twice.last)
    assert new.members == (*old.members, "fifth")
    np.testing.assert_allclose(new.scores(PROMPTS)[list(old.members)], old.scores(PROMPTS), rtol=0, atol=1e-6)


def test_of_a_pool_the_run_s_own_table_has_the_others(erp, made, trained):
    """data=same: the run took three members of a table of four."""
    members = "pool.members=[synthetic-1b,synthetic-14b,synthetic-3b]"
    base = trained(f"data.path={made / 'four.parquet'}", members)
    answer = erp("extend", f"run={base}", "labels=20", f"cache_dir={made / 'cache'}")
    assert answer.code == 0, answer.err
    assert package.load(answer.last).members == ("synthetic-1b", "synthetic-14b", "synthetic-3b", NEW)


@pytest.mark.parametrize("head", ["linear", "log"])
def test_predicted_costs_and_categories_go_with_it(extend, trained, head):
    base = trained("router=category_mean", "category=predicted", "cost.predict=true", f"cost.head={head}")
    answer = extend("labels=40", run=base)
    assert answer.code == 0, answer.err
    old, new = package.load(base), package.load(answer.last)
    before, after = old.decide(PROMPTS), new.decide(PROMPTS)
    np.testing.assert_allclose(after.costs[:, :3], before.costs, rtol=1e-12)
    np.testing.assert_allclose(after.scores[:, :3], before.scores, rtol=0, atol=1e-6)
    assert (after.costs[:, 3] > 0).all()
    assert np.isfinite(after.costs).all()


def test_where_no_head_beats_the_mean_costs_a_new_member_has_its_mean_too(erp, made):
    frame = pd.read_parquet(made / "four.parquet")
    frame["cost_usd"] = np.random.default_rng(0).uniform(1, 5, size=len(frame)) * 1e-3  # nothing of the prompt
    frame.to_parquet("four.parquet")
    frame[frame["model"] != NEW].to_parquet("three.parquet")
    base = erp("train", *SETTINGS, "data=table", "data.path=three.parquet", "cost.predict=true").last
    assert {row["head"] for row in results(base)["predicted_costs"]["members"].values()} == {"mean"}
    answer = erp("extend", f"run={base}", "data=table", "data.path=four.parquet", "labels=40")
    assert answer.code == 0, answer.err
    costs = package.load(answer.last).decide(PROMPTS).costs
    assert np.ptp(costs, axis=0) == pytest.approx([0.0] * 4)


def test_prompts_of_another_run_are_left_out(extend, made, tmp_path):
    fresh = long_frame(prompts=30, members=4, seed=9).assign(prompt_id=lambda rows: "fresh-" + rows["prompt_id"])
    pd.concat([pd.read_parquet(made / "four.parquet"), fresh]).to_parquet(tmp_path / "more.parquet")
    answer = extend("labels=25", table=tmp_path / "more.parquet")
    assert answer.code == 0, answer.err
    found = results(answer.last)
    assert any("30 prompts of the table are not of the run" in note for note in found["data"]["notes"])
    split = split_of(answer.last).set_index("prompt_id")
    assert set(split.loc[split.index.str.startswith("fresh"), "split"]) == {"unused"}
    assert not split.loc[split.index.str.startswith("fresh"), "labelled"].any()
    ids = pd.read_parquet(Path(answer.last) / "predictions.parquet")["prompt_id"]
    assert not ids.str.startswith("fresh").any()


def test_a_new_member_s_price_is_given_where_nobody_tells_it(erp, made, tmp_path):
    def prices(name, members):
        (tmp_path / name).write_text(json.dumps({member: {"input": 1.0, "output": 2.0} for member in members}))
        return tmp_path / name

    frame = pd.read_parquet(made / "four.parquet").drop(columns="cost_usd")
    frame.to_parquet("four.parquet")
    frame[frame["model"] != NEW].to_parquet("three.parquet")
    old = sorted(set(frame["model"]) - {NEW})
    few, all_ = prices("few.json", old), prices("all.json", [*old, NEW])
    run = erp("train", *SETTINGS, "data=table", "data.path=three.parquet", f"cost.prices={few}").last
    arguments = ["extend", f"run={run}", "data=table", "data.path=four.parquet", "labels=20"]
    refused = erp(*arguments)
    assert refused.code == 2
    assert NEW in refused.err
    answer = erp(*arguments, f"prices={all_}")
    assert answer.code == 0, answer.err
    assert results(answer.last)["cost"]["kind"] == "usd"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["member=synthetic-1b"], ["member = synthetic-1b: the router has it already", NEW]),
        (["member=synthetic-9b"], ["member = synthetic-9b: the table has no rewards of it", NEW]),
        (["labels=1"], ["labels = 1: "]),
        (["labels=5000"], ["labels = 5000: only", "null for all"]),
        (["method=magic"], ["method = magic: "]),
        (["labelz=3"], ["labelz"]),
    ],
)
def test_bad_values_are_refused_by_name(extend, arguments, said):
    answer = extend(*arguments)
    assert answer.code == 2
    assert len(answer.faults) == 1
    assert all(text in answer.err for text in said), answer.err


def test_bad_tables_are_refused_by_name(extend, made, trained, tmp_path):
    frame = pd.read_parquet(made / "four.parquet")
    split = split_of(trained()).set_index("prompt_id")["split"]
    new, test = frame["model"] == NEW, frame["prompt_id"].map(split) == "test"
    learnt = frame["prompt_id"].map(split).isin(["train", "validation"])
    one = new & learnt & (frame["prompt_id"] != split.index[split == "train"][0])
    other_ids = frame.assign(prompt_id="x" + frame["prompt_id"])
    tables = {
        "the table has several": pd.concat([frame, frame[new].assign(model="fifth")]),
        "every member of the table": frame[~new],
        "no rewards of synthetic-3b": frame[frame["model"] != "synthetic-3b"],
        f"member = {NEW}: 1 prompts that the run learnt from": frame[~one],
        f"member = {NEW}: 0 prompts that the run learnt from": frame[~(new & learnt)],
        f"member = {NEW}: no prompt that the run is tested on": frame[~(new & test)],
        "the table has none of the prompts": other_ids,
    }
    for said, table in tables.items():
        table.to_parquet(tmp_path / "bad.parquet")
        answer = extend(table=tmp_path / "bad.parquet")
        assert answer.code == 2, said
        assert len(answer.faults) == 1
        assert said in answer.err
    assert not Path("runs").exists()


def test_runs_that_cannot_be_extended_are_refused_by_name(extend, trained):
    ordinal = extend(run=trained("router=zooter", "trainer.max_epochs=1"))
    assert ordinal.code == 2
    assert "router (zooter) are ordinal" in ordinal.err
    calibrated = extend(run=trained("policy=budget"))
    assert calibrated.code == 2
    assert "policy (budget) was calibrated on its own pool" in calibrated.err
    assert extend(run=Path("nowhere")).faults == [
        "erp extend: run = nowhere: there is no such folder; give one that `erp train` printed, or `erp export` wrote"
    ]


def test_an_extended_router_is_not_trained_again(erp, extend):
    folder = extend("labels=20").last
    answer = erp("train", f"config={folder}/config.yaml")
    assert answer.code == 2
    assert "an extended router is not trained" in answer.err
