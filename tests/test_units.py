"""Lambda is a price of the unit that costs are shown in: on the command line, in files, and for runs of before."""

import copy
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from erp.units import UNITS, unit_of, with_base_lambda, with_shown_lambdas
from tests.integration.conftest import erp, quick, scores, table  # noqa: F401 - fixtures


def test_a_price_of_a_shown_unit_is_so_many_prices_of_a_base_unit():
    assert with_base_lambda({"lambda": 0.045}, "flops") == {"lambda": pytest.approx(4.5e-14)}
    assert with_base_lambda({"lambda": 0.02}, "usd") == {"lambda": pytest.approx(20.0)}  # per USD per prompt
    assert with_base_lambda({"lambda": 0.02}, "tokens") == {"lambda": 0.02}
    assert with_base_lambda({"lambda": 0.02}, "usd", "base") == {"lambda": 0.02}
    assert with_base_lambda({"lambda": math.inf}, "usd") == {"lambda": math.inf}
    assert with_base_lambda({"lambda": None, "z": 1}, "usd") == {"lambda": None, "z": 1}
    assert unit_of("FLOPs per prompt") is UNITS["flops"]


@pytest.fixture
def priced(erp, table, quick, tmp_path):  # noqa: F811
    """A run under a price per trillion FLOPs that matters: its folder and its results."""
    names = sorted(pd.read_parquet(table)["model"].unique())
    members = ", ".join(f"{{name: {name}, active_parameters: {10 ** (9 + i)}}}" for i, name in enumerate(names))
    answer = erp("train", *quick, "router=ridge", "cost=flops", f"pool.members=[{members}]", "policy.lambda=0.05")
    assert answer.code == 0, answer.err
    folder = tmp_path / answer.last
    return folder, json.loads((folder / "results.json").read_text()), answer


def best(rows, price):
    """Brute force: the member of the largest predicted reward less price times cost, for every prompt."""
    rows = rows.assign(value=rows["predicted"] - price * rows["predicted_cost"])
    return rows.loc[rows.groupby("prompt_id")["value"].idxmax()].set_index("prompt_id")["model"]


def test_a_lambda_is_reward_per_trillion_flops(priced, erp, tmp_path):  # noqa: F811
    folder, results, answer = priced
    rows = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'").reset_index(drop=True)
    chosen = rows[rows["chosen"]].set_index("prompt_id")["model"]
    assert chosen.sort_index().equals(best(rows, 0.05 / 1e12).sort_index())
    assert not chosen.sort_index().equals(best(rows, 0.0).sort_index()), "a price that matters"
    assert results["run"]["lambda"] == results["policy"]["lambda"] == pytest.approx(0.05)
    assert results["cost"] | {"shown_unit": "trillion FLOPs per prompt", "shown_size": 1e12} == results["cost"]
    said = "lambda = 0.05 per trillion FLOPs"
    assert said in answer.out
    assert said in (folder / "report.md").read_text()
    assert "billion" not in (folder / "report.md").read_text()
    (tmp_path / "in.jsonl").write_text('{"prompt": "one prompt"}\n')
    for value in (0, 0.05, 1e6):  # the same rule in `erp route`
        found = json.loads(erp("route", f"run={folder}", "input=in.jsonl", "output=json", f"lambda={value}").out)
        worth = {
            name: member["predicted_reward"] - value * member["predicted_cost"] / 1e12
            for name, member in found["members"].items()
        }
        assert found["member"] == max(worth, key=worth.__getitem__)
        assert found["cost_unit"] == "FLOPs per prompt"
    assert "trillion FLOPs per prompt" in erp("route", f"run={folder}", "input=in.jsonl").out


def test_the_points_of_a_curve_are_at_shown_lambdas(priced):
    folder, results, _ = priced
    rows = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'").reset_index(drop=True)
    curve = results["curves"]["router"]
    observed = rows.set_index(["prompt_id", "model"])["observed"]
    for low, high, reward in list(zip(curve["lambda"], curve["lambda"][1:], curve["reward"], strict=False))[::7]:
        inside = low * 1.0001 if high is None else (low + high) / 2
        taken = best(rows, inside / 1e12)
        assert np.mean([observed[pair] for pair in taken.items()]) == pytest.approx(reward)


def of_before(folder):
    """The run folder as it was written when lambdas were per base unit."""
    results = json.loads((folder / "results.json").read_text())
    del results["format"]
    size = results["cost"].pop("shown_size")
    del results["cost"]["shown_unit"]
    for section in ("run", "policy", "perf_gain", "cost_save"):
        if results[section] is not None and results[section]["lambda"] is not None:
            results[section]["lambda"] /= size
    for section in [*results["curves"].values(), results["interval"], results["shares"]]:
        section["lambda"] = [None if value is None else value / size for value in section["lambda"]]
    for key in ("most_reward", "same_reward"):
        if results["chosen_on_validation"][key] is not None:
            results["chosen_on_validation"][key] /= size
    results["policy"]["label"] = f"lambda = {results['policy']['lambda']:g}"
    (folder / "results.json").write_text(json.dumps(results))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["cost"]["lambda_per"], config["format"]
    config["policy"]["lambda"] /= size
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return results


def test_a_run_of_before_is_read_as_it_would_be_written_today(priced, erp, tmp_path):  # noqa: F811
    folder, results, _ = priced
    old = copy.deepcopy(of_before(folder))
    read = with_shown_lambdas(old)
    assert read["curves"]["router"]["lambda"] == pytest.approx(results["curves"]["router"]["lambda"])
    assert read["policy"]["label"] == results["policy"]["label"]
    assert read["chosen_on_validation"] == results["chosen_on_validation"] | {
        key: pytest.approx(results["chosen_on_validation"][key])
        for key in ("most_reward", "same_reward")
        if results["chosen_on_validation"][key] is not None
    }
    again = erp("evaluate", f"run={folder}")
    assert again.code == 0, again.err
    found = json.loads((tmp_path / again.last / "results.json").read_text())
    for key in ("policy", "perf_gain", "cost_save", "routing"):
        assert found[key] == results[key], key
    rows = erp("compare", str(folder), "output=json", "table=runs")
    assert json.loads(rows.out)[0]["lambda"] == pytest.approx(0.05)
    made = erp("train", f"config={folder}/config.yaml", "out=again", "seed=1")
    assert made.code == 0, made.err
    both = erp("compare", str(folder), made.last, "output=json", "table=contenders")
    assert len(json.loads(both.out)) == 1, "a run of before and one of today are seeds of one contender"
    repeated = json.loads((tmp_path / made.last / "results.json").read_text())
    assert repeated["policy"] == results["policy"]
    assert repeated["run"]["lambda"] == pytest.approx(0.05)


def test_a_checkpoint_holds_base_prices_as_it_always_did(priced):
    card = torch.load(priced[0] / "checkpoint.ckpt", weights_only=True)["card"]
    assert card["policy"]["lambda"] == pytest.approx(0.05 / 1e12)
