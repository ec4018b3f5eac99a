"""A run's own table and prices, when they are not what they were."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.integration.tables import long_frame, results


def notes(folder) -> str:
    return "\n".join(results(folder)["data"]["notes"])


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.assign(reward=frame["reward"] * -10),
        lambda frame: frame.assign(cost_usd=frame["cost_usd"] * 100),
        lambda frame: frame.assign(completion_tokens=frame["completion_tokens"] + 1),
        lambda frame: frame[frame["prompt_id"] != frame["prompt_id"].iloc[0]],
        lambda frame: frame.assign(category="one"),
    ],
    ids=["rewards", "costs", "tokens", "prompts", "categories"],
)
def test_another_table_under_the_runs_own_name_is_refused(erp, run, table, change):
    change(pd.read_parquet(table)).to_parquet(table)
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 2
    assert len(answer.faults) == 1
    assert answer.err.startswith("erp evaluate: data = same: the content of scores.parquet")
    assert not (Path(run) / "evaluations").exists()
    # the remedy, as it is printed
    words = answer.err.split("with ")[1].split(", or train again")[0]
    again = erp("evaluate", f"run={run}", *shlex.split(words))
    assert again.code == 0, again.err


def test_rows_in_another_order_and_another_file_format_are_the_same_table(erp, run, table):
    frame = pd.read_parquet(table)
    frame.sample(frac=1, random_state=3).to_parquet(table)
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert "note:" not in answer.out
    assert "cannot be told" not in notes(answer.last)


def priced(tmp_path, factor=1.0) -> Path:
    names = sorted(long_frame()["model"].unique())
    path = tmp_path / "prices.json"
    path.write_text(
        json.dumps({n: {"input": factor * (i + 1), "output": factor * (i + 2)} for i, n in enumerate(names)})
    )
    return path


def test_a_price_file_that_changed_is_told(erp, quick, table, tmp_path):
    """The router's own costs stay; what is spent is counted at a hundred times the price."""
    long_frame().drop(columns="cost_usd").to_parquet(table)
    run = erp("train", *quick, "figures=false", "cost.kind=usd", f"cost.prices={priced(tmp_path)}").last
    first = erp("evaluate", f"run={run}")
    assert "note:" not in first.out, first.out
    before = results(first.last)["routing"]["members"]
    priced(tmp_path, 100.0)
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    said = "what it spends is counted at other prices: synthetic-1b 1.000 / 2.000 then, 100.0 / 200.0 now, "
    assert f"note: the router decides by the costs it was trained with; {said}" in answer.out
    assert said in notes(answer.last)
    after = results(answer.last)["routing"]["members"]
    for name, row in before.items():
        assert after[name]["cost"] == pytest.approx(100 * row["cost"], rel=1e-9)
    shutil.copy(priced(tmp_path), tmp_path / "elsewhere.json")  # the same prices in another file are the same
    moved = erp("evaluate", f"run={run}", f"cost.prices={tmp_path / 'elsewhere.json'}")
    assert "note:" not in moved.out


def test_a_price_nobody_needs_is_no_matter(erp, quick, tmp_path):
    run = erp("train", *quick, "figures=false", "cost.kind=usd").last  # cost_usd is measured
    answer = erp("evaluate", f"run={run}", f"cost.prices={priced(tmp_path)}")
    assert answer.code == 0, answer.err
    assert "note:" not in answer.out


def test_a_folder_made_before_this_was_kept_is_evaluated_and_says_so(erp, run, table):
    (run / "origin.json").unlink()
    frame = pd.read_parquet(table)
    frame.assign(reward=frame["reward"] + 1).to_parquet(table)
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert "note: whether the table and its prices are those of the run cannot be told" in answer.out
    assert "cannot be told: its folder was made before" in notes(answer.last)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table": "x", "members": 3}'])
def test_a_damaged_record_is_named(erp, run, text):
    (run / "origin.json").write_text(text)
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 2
    assert "origin.json cannot be read" in answer.err


def test_extend_refuses_and_tells_likewise(erp, quick, table, tmp_path):
    frame = long_frame(members=4)
    frame.to_parquet(table)
    names = sorted(frame["model"].unique())
    pool = "pool.members=[" + ",".join(f"{{name: {name}}}" for name in names[:3]) + "]"
    run = erp("train", *quick, "figures=false", pool).last
    fine = erp("extend", f"run={run}", "labels=20")
    assert fine.code == 0, fine.err
    assert "note:" not in fine.out
    assert erp("evaluate", f"run={fine.last}").code == 0
    frame.assign(reward=np.where(frame["model"] == names[0], -10, 1) * frame["reward"]).to_parquet(table)
    refused = erp("extend", f"run={run}", "labels=20")
    assert refused.code == 2
    assert "data = same: the content of scores.parquet" in refused.err
    told = erp("extend", f"run={run}", "labels=20", "data=table", f"data.path={table}")
    assert told.code == 0, told.err
    assert "note: the table's prompts, rewards or costs of the run's own members are not those" in told.out
    assert "are not those that the run was trained on" in notes(told.last)
    assert erp("evaluate", f"run={fine.last}").code == 2


def test_what_a_policy_was_calibrated_on_is_learnt_from(erp, quick, table, tmp_path):
    """It is not test on the run's table, counts as paid for there, and is left out of another one."""
    run = erp("train", *quick, "figures=false", "policy=guarantee", "router=knn").last
    split = pd.read_parquet(Path(run) / "split.parquet").set_index("prompt_id")["split"]
    calibration = split.index[split == "calibration"]
    assert len(calibration) > 5
    same = erp("evaluate", f"run={run}")
    assert same.code == 0, same.err
    assert results(same.last)["data"]["test"] == (split == "test").sum()
    assert results(same.last)["economics"] == results(run)["economics"]
    frame = pd.read_parquet(table)
    seen = frame[frame["prompt_id"].isin(calibration)].assign(prompt_id=lambda f: "other-" + f["prompt_id"])
    fresh = long_frame(prompts=90, seed=7).assign(prompt_id=lambda f: "fresh-" + f["prompt_id"])
    pd.concat([seen, fresh]).to_parquet(tmp_path / "other.parquet")
    other = erp("evaluate", f"run={run}", "data=table", f"data.path={tmp_path / 'other.parquet'}")
    assert other.code == 0, other.err
    assert results(other.last)["data"]["test"] == 90
    assert f"{len(calibration)} prompts were left out" in notes(other.last)


def test_a_run_of_before_data_named_its_class_is_opened_and_found(erp, run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["format"]
    assert config["data"].pop("name") == "table"
    del config["data"]["_target_"]
    config["data"] = {"kind": "table", **config["data"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    again = erp("evaluate", f"run={run}")
    assert again.code == 0, again.err
    assert results(again.last)["routing"] == results(run)["routing"]
    assert "This run is finished already" in erp("train", f"config={run}/config.yaml").out
