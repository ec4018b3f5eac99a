"""What W&B has of a finished run: summary, tables, figures, artifacts."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp
from erp.tracking.summary import choices, flattened, headline, pool_name
from erp.tracking.tables import MOST_ROWS, curve_rows, prediction_rows, routing_rows
from tests.tracking.offline import quick, recorded

PAGE = Path(__file__).resolve().parents[2] / "docs/dashboard.md"


def test_the_headline_is_what_the_docs_say_and_what_results_hold(trained):
    result, run = trained
    table = PAGE.read_text().partition("**Summary: the headline.**")[2].partition("**Summary: the rest.**")[0]
    documented = re.findall(r"`([a-z0-9_/]+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    assert documented == list(headline(result.results))
    assert set(documented) <= set(run.summary)
    found = {row: value for row, value in result.results.items() if row in ("policy", "prediction", "equal_cost")}
    assert run.summary["verdict"] == found["equal_cost"]["policy"]["verdict"]
    assert run.summary["gain_low"] == pytest.approx(found["policy"]["gain_vs_best_single"]["low"])
    assert run.summary["gain_at_equal_cost"] == pytest.approx(found["equal_cost"]["policy"]["difference"]["mean"])
    assert run.summary["r2_ceiling"] == pytest.approx(found["prediction"]["r2_pooled_ceiling"])
    assert run.summary["objective/value"] == pytest.approx(result.objective)
    logged = next(row for row in run.history if "objective/value" in row)
    assert logged["objective/value"] == pytest.approx(result.objective)


def test_the_rest_of_the_summary_has_the_paths_of_results(trained):
    result, run = trained
    routing = result.results["routing"]
    for key in ("routing/router/reward", "routing/oracle/reward", "routing/router/gain_vs_best_single/mean"):
        value = routing
        for part in key.split("/")[1:]:
            value = value[part]
        assert run.summary[key] == pytest.approx(value)
    members = [key for key in run.summary if key.startswith("routing/members/")]
    assert {key.split("/")[2] for key in members} == set(routing["members"])
    assert not any(key.startswith(("curves", "run/", "level", "interval", "shares")) for key in run.summary)
    assert run.summary["reward"] == pytest.approx(result.results["policy"]["reward"])


def test_a_policy_of_ones_own_is_what_the_headline_tells(tmp_path):
    result = quick(tmp_path, "policy.lambda=inf")
    run = recorded(result.folder)
    assert run.summary["cost"] == pytest.approx(min(m["cost"] for m in result.results["routing"]["members"].values()))
    assert run.summary["cost"] < run.summary["routing/router/cost"]
    assert (run.config["policy"]["lambda"], run.exit_code) == ("Infinity", 0)


def test_the_tables_hold_what_the_run_folder_holds(trained):
    result, run = trained
    results = result.results
    routing, curves = run.table("routing"), run.table("curves")
    assert routing["row"] == [row[0] for row in routing_rows(results)["data"]]
    assert routing["gain"][routing["row"].index("oracle")] == pytest.approx(
        results["routing"]["oracle"]["gain_vs_best_single"]["mean"]
    )
    router = [cost for name, cost in zip(curves["curve"], curves["cost"], strict=True) if name == "router"]
    assert router == pytest.approx(results["curves"]["router"]["cost"])
    lines = dict(zip(curves["curve"], curves["line"], strict=True))
    assert lines["router"] == result.folder.name
    assert lines["oracle"].startswith("oracle (synthetic, ")
    members = run.table("members")
    assert members["member"] == results["run"]["members"]
    for column, of in (("r2", "prediction"), ("r2_ceiling", "prediction"), ("share", "routing")):
        assert members[column] == pytest.approx([results[of]["members"][m][column] for m in members["member"]])
    frame = pd.read_parquet(result.folder / "predictions.parquet")
    frame = frame[frame["split"] == "test"].drop(columns="split").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(run.table("predictions")), frame, check_dtype=False)


def test_the_figures_of_the_report_are_there(trained):
    result, run = trained
    figures = list(result.folder.glob("figures/*.png"))
    assert figures
    for figure in figures:
        entry = run.media(f"figures/{figure.stem}")
        assert entry["_type"] == "image-file"
        assert (run.folder / "files" / entry["path"]).read_bytes() == figure.read_bytes()


def test_a_run_is_made_from_its_table_and_makes_a_router_that_opens(trained, tmp_path):
    result, run = trained
    table, model = run.artifacts["table-synthetic"], run.artifacts[result.folder.name]
    assert (table["type"], table["use_after_commit"]) == ("reward-table", True)
    metadata = json.loads(table["metadata"])
    assert set(table["aliases"]) == {"latest", metadata["fingerprint"][:12]}
    assert metadata["data"]["prompts"] == metadata["prompts"] == 120
    (entry,) = table["manifest"]["contents"]
    assert json.loads(Path(entry["local_path"]).read_text())["fingerprint"] == metadata["fingerprint"]

    assert (model["type"], model.get("use_after_commit", False)) == ("model", False)
    copy = tmp_path / "copy"
    copy.mkdir()
    for entry in model["manifest"]["contents"]:
        if entry["path"] != "status.json":
            assert Path(entry["local_path"]).parent == result.folder  # nothing is stored twice
        shutil.copy(entry["local_path"], copy / entry["path"])
    prompts = ["one prompt", "and another"]
    pd.testing.assert_frame_equal(erp.load(copy).scores(prompts), erp.load(result.folder).scores(prompts))


def test_equal_tables_are_one_version_and_others_are_not(trained, tmp_path):
    _, run = trained
    same = recorded(quick(tmp_path, "router=knn").folder)
    other = recorded(quick(tmp_path, "router=knn", "data.seed=1").folder)
    digests = [r.artifacts["table-synthetic"]["digest"] for r in (run, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_artifacts_can_be_left_out(tmp_path):
    run = recorded(quick(tmp_path, "tracking.artifacts=false").folder)
    assert {artifact["type"] for artifact in run.artifacts.values()} == {"run_table"}  # W&B's own, of tables


# What is sent, without sending it.


def test_nested_results_become_flat_keys():
    values = {"a": {"b": {"c": 1}, "list": [1, 2]}, "text": "t", "none": None, "flag": True}
    assert flattened(values) == {"a/b/c": 1, "text": "t", "none": None, "flag": True}


def test_choices_are_those_that_have_a_name():
    config = {"router": {"name": "ridge"}, "backbone": {"name": "hashing"}, "policy": {}, "pool": {"members": None}}
    chosen = {"router": "ridge", "backbone": "hashing", "reward_model": "rm", "pool": "all", "data": "table.csv"}
    assert choices(config, "rm", "table.csv") == chosen


def test_a_pool_is_called_by_its_members_where_they_are_short():
    assert pool_name([{"name": "a"}, {"name": "b"}]) == "a+b"
    assert pool_name([{"name": f"model-{i:020}"} for i in range(3)]).startswith("3 members, model-0")


def row(reward, **more):
    return {"reward": reward, "cost": 2 * reward, "gain_vs_best_single": {"mean": 0, "low": -1, "high": 1}, **more}


def test_the_routing_table_has_references_then_members():
    results = {"routing": {"unit": "usd", "router": row(3, headroom_recovered=0.5), "members": {"a": row(1)}}}
    table = routing_rows(results)
    assert table["columns"] == ["row", "reward", "cost", "gain", "gain_low", "gain_high", "headroom_recovered"]
    assert table["data"] == [["router", 3, 6, 0, -1, 1, 0.5], ["member: a", 1, 2, 0, -1, 1, None]]


RUN = {"name": "ridge-1", "table": "t", "reward_model": "rm", "members": ["a", "b"], "split_seed": 0}


def test_the_curves_are_one_long_table():
    curves = {"router": {"lambda": [0, None], "cost": [2, 1], "reward": [4, 3]}}
    data = curve_rows({"run": RUN, "curves": curves})["data"]
    assert data == [["router", 0, 2, 4, "ridge-1"], ["router", None, 1, 3, "ridge-1"]]


def line_of(name, run=RUN, **curve):
    curve = {"lambda": [0, None], "cost": [2.0, 1.0], "reward": [4.0, 3.0]} | curve
    ((_, _, _, _, line), _) = curve_rows({"run": run, "curves": {name: curve}})["data"]
    return line


def test_references_share_a_line_where_their_points_are_equal():
    """Another category left out, target or number of labels is in no fact of the line, but in its points."""
    line = line_of("oracle")
    assert re.fullmatch(r"oracle \(t, rm, 2 members, split 0, [0-9a-f]{6}\)", line)
    assert line_of("oracle", {**RUN, "name": "knn-2"}, **{"lambda": [1, None]}) == line
    assert line_of("oracle", cost=[2.0 + 1e-13, 1.0]) == line, "a sum in another order"
    others = [line_of("oracle", reward=[4.0, 3.1]), line_of("oracle", cost=[2.5, 1.0])]
    assert len({line, *others}) == 3
    assert line_of("router", reward=[4.0, 3.1]) == "ridge-1"


def test_real_runs_share_the_lines_of_what_they_were_tested_on(tmp_path):
    def lines(*more):
        rows = curve_rows(quick(tmp_path, "tracking=off", "split.by=category", *more).results)["data"]
        return {name: line for name, *_, line in rows}

    code, same = lines("split.category=code"), lines("split.category=code", "router=knn")
    assert [name for name in code if code[name] == same[name]] == ["category_mean", "oracle"]
    assert lines("split.category=math")["oracle"] != code["oracle"]


@pytest.mark.parametrize("points", [1, MOST_ROWS // 2, MOST_ROWS // 2 + 1, 3 * MOST_ROWS])
def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends(points):
    curve = {name: list(range(points)) for name in ("lambda", "cost", "reward")}
    data = curve_rows({"run": RUN, "curves": {"router": curve, "oracle": curve}})["data"]
    assert len(data) == 2 * min(points, MOST_ROWS // 2)
    kept = np.array([row[2] for row in data if row[0] == "router"])
    assert (kept[0], kept[-1]) == (0, points - 1)
    if points > 1:
        gaps = np.diff(kept)
        assert gaps.min() >= 1
        assert gaps.max() <= gaps.min() + 1


def test_of_many_predictions_the_first_whole_prompts_of_test_are_kept(tmp_path):
    members, prompts = 7, 2000
    frame = pd.DataFrame(
        {
            "prompt_id": np.repeat([f"p{i}" for i in range(prompts)], members),
            "split": ["validation"] * members * 100 + ["test"] * members * (prompts - 100),
            "model": [f"m{i}" for i in range(members)] * prompts,
            "observed": [np.nan, *range(members * prompts - 1)],
        }
    )
    frame.to_parquet(tmp_path / "predictions.parquet")
    rows = prediction_rows(tmp_path / "predictions.parquet")
    assert rows["columns"] == ["prompt_id", "model", "observed"]
    assert len(rows["data"]) == MOST_ROWS // members * members
    assert rows["data"][0] == ["p100", "m0", 699]
    assert {row[0] for row in rows["data"]} == {f"p{100 + i}" for i in range(MOST_ROWS // members)}
    frame[frame["split"] == "validation"].to_parquet(tmp_path / "predictions.parquet")
    assert prediction_rows(tmp_path / "predictions.parquet")["data"] == []
