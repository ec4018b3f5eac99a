"""Options that cross rooms, through the command line: policies, predicted category and cost, other targets, splits."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp.compose import compose
from tests.integration.conftest import arguments_of
from tests.integration.tables import long_frame


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Five samples a cell, enough to take a best of two or a quantile. Nobody writes here: `quick` has a copy."""
    path = tmp_path_factory.mktemp("table") / "five.parquet"
    long_frame(samples=5).to_parquet(path)
    return path


@pytest.fixture
def quick(five, tmp_path):
    return arguments_of(Path(shutil.copy(five, tmp_path)))


def results_of(answer):
    assert answer.code == 0, answer.err
    return json.loads((Path(answer.last) / "results.json").read_text())


@pytest.mark.parametrize(
    ("policy", "router"),
    [
        ("budget", "ridge"), ("tolerance", "ridge"), ("guarantee", "ridge"), ("guarded", "knn"), ("lambda", "ridge"),
    ],
)  # fmt: skip
def test_every_policy_decides_the_same_in_the_report_and_in_a_service(erp, quick, policy, router):
    answer = erp("train", *quick, f"policy={policy}", f"router={router}")
    results = results_of(answer)
    assert results["policy"]["name"] == policy
    opened = package.load(answer.last)
    predictions = pd.read_parquet(Path(answer.last) / "predictions.parquet")
    prompts = pd.read_parquet(quick[1].removeprefix("data.path="), columns=["prompt_id", "prompt", "category"])
    prompts = prompts.drop_duplicates("prompt_id").set_index("prompt_id")
    test = predictions[predictions["split"] == "test"]
    ids = test["prompt_id"].unique()
    routed = opened.route(prompts.loc[ids, "prompt"].tolist(), category=prompts.loc[ids, "category"].tolist())
    chosen = test[test["chosen"]].groupby("prompt_id")["model"].agg(set)
    for prompt_id, member in zip(ids, routed["member"], strict=True):
        assert member in chosen[prompt_id]
    assert policy == "budget" or (chosen.map(len) == 1).all()  # a budget tosses a coin where its two points differ
    report = (Path(answer.last) / "report.md").read_text()
    assert results["policy"]["label"] in report


def test_a_budget_is_kept_on_validation_and_said_beside_what_was_spent(erp, quick):
    results = results_of(erp("train", *quick, "policy=budget", "policy.share_of_best_single=0.6"))
    promise = results["policy"]["promise"]
    assert promise["budget"] == pytest.approx(0.6 * results["routing"]["best_single"]["cost"], rel=0.3)
    assert promise["realised"] == pytest.approx(results["policy"]["cost"])


@pytest.mark.parametrize(("budget", "words"), [(0.0, "less than the cheapest"), (100.0, "does not bind"), (None, "")])
def test_a_budget_is_said_in_the_unit_that_costs_are_shown_in(erp, quick, budget, words):
    """The key is in USD of one prompt, as costs are in files; whatever a reader sees is per thousand."""
    table = pd.read_parquet(quick[1].removeprefix("data.path="))
    table["cost_usd"] = table.groupby("model").ngroup() * 1e-3 + 1e-3
    table.to_parquet(quick[1].removeprefix("data.path="))
    answer = erp("train", *quick, "policy=budget", f"policy.budget={1.5e-3 if budget is None else budget}")
    assert answer.code == 0, answer.err
    said = {0.0: "0", 100.0: "1e+05", None: "1.5"}[budget]
    assert f"(budget = {said} USD per thousand prompts)" in answer.out
    report = (Path(answer.last) / "report.md").read_text()
    assert f"the run's policy, budget = {said} USD per thousand prompts" in report
    assert words in report
    assert ".." not in report[report.index("The policy's budget is") - 200 :][:400]


def test_a_guarantee_has_calibration_prompts_of_its_own(erp, quick):
    answer = erp("train", *quick, "policy=guarantee", "policy.alpha=0.3", "policy.tolerated_loss=0.5")
    split = pd.read_parquet(Path(answer.last) / "split.parquet")["split"]
    assert (split == "calibration").sum() > 10
    promise = results_of(answer)["policy"]["promise"]
    assert promise["alpha"] == 0.3
    assert 0 <= promise["low"] <= promise["lost"] <= promise["high"] <= 1
    assert promise["verdict"] in ("kept", "broken", "open")


def test_what_a_policy_cannot_do_is_refused_by_name(erp, quick):
    answer = erp("train", *quick, "policy=guarded")
    assert answer.code == 2
    assert "router = ridge has none" in answer.err
    free = erp("train", *quick, "policy=budget", "cost=none")
    assert free.code == 2
    assert "policy = budget: no costs are known" in free.err


def test_a_category_for_every_prompt_is_no_fault_and_no_noise(erp, quick):
    """Warnings are errors here."""
    path = quick[1].removeprefix("data.path=")
    table = pd.read_parquet(path)
    table.assign(category=table["prompt_id"]).to_parquet(path)
    answer = erp("train", *quick, "router=category_mean")
    assert results_of(answer)["routing"]["router"]["constant_member"] is not None
    assert answer.err == ""


def test_predicted_categories_need_no_category_to_route(erp, quick):
    answer = erp("train", *quick, "router=category_mean", "category=predicted")
    results = results_of(answer)
    assert results["run"]["category"] == "predicted"
    routing = results["routing"]
    assert routing["router"]["reward"] == pytest.approx(routing["category_mean_predicted"]["reward"])
    assert len(package.load(answer.last).route(["a prompt without a category"])) == 1
    given = erp("train", *quick, "router=category_mean")
    with pytest.raises(package.ErpError, match="category"):
        package.load(given.last).route(["a prompt without a category"])


def test_predicted_costs_differ_by_prompt_and_are_used_to_decide(erp, quick):
    answer = erp("train", *quick, "cost.predict=true", "policy.lambda=0.1")
    results_of(answer)
    predictions = pd.read_parquet(Path(answer.last) / "predictions.parquet")
    assert predictions.groupby("model")["predicted_cost"].nunique().min() > 10
    assert (predictions["predicted_cost"] >= 0).all()
    test = predictions[predictions["split"] == "test"]
    utility = test.assign(u=test["predicted"] - 0.1 * 1000 * test["predicted_cost"])  # USD per thousand prompts
    best = utility.loc[utility.groupby("prompt_id")["u"].idxmax()]
    assert best["chosen"].mean() > 0.99
    routed = package.load(answer.last).route(["one prompt", "and another one, longer than the first"])
    assert routed["predicted_cost"].notna().all()


def test_targets_other_than_the_mean(erp, quick):
    frame = pd.read_parquet(quick[1].removeprefix("data.path="))
    cells = frame.groupby(["prompt_id", "model"])["reward"].agg(list)
    pairs = cells.map(lambda y: np.mean([max(pair) for pair in combinations(y, 2)]))
    for options, judge in (
        (["target.kind=best_of_n", "target.n=2"], pairs),
        (["target.kind=quantile", "target.quantile=0.75"], cells.map(lambda y: np.quantile(y, 0.75))),
    ):
        answer = erp("train", *quick, *options)
        results = results_of(answer)
        predictions = pd.read_parquet(Path(answer.last) / "predictions.parquet").set_index(["prompt_id", "model"])
        np.testing.assert_allclose(predictions["observed"], judge.loc[predictions.index], atol=1e-12)
        assert results["prediction"]["r2_pooled_ceiling"] is None
        assert results["routing"]["sample_all"] is None
    mean = results_of(erp("train", *quick))
    best = results_of(erp("train", *quick, "target.kind=best_of_n", "target.n=2"))
    assert best["routing"]["best_single"]["cost"] == pytest.approx(2 * mean["routing"]["best_single"]["cost"])
    refused = erp("train", *quick, "target.kind=best_of_n", "target.n=6")
    assert refused.code == 2
    assert "target.n = 6: a cell has 5 separate samples" in refused.err


def test_one_category_is_left_out(erp, quick):
    frame = pd.read_parquet(quick[1].removeprefix("data.path="))
    name = frame["category"].iloc[0]
    answer = erp("train", *quick, "split.by=category", f"split.category={name}")
    results_of(answer)
    split = pd.read_parquet(Path(answer.last) / "split.parquet").set_index("prompt_id")["split"]
    category = frame.drop_duplicates("prompt_id").set_index("prompt_id")["category"]
    assert set(category[split.index[split == "test"]]) == {name}
    assert name not in set(category[split.index[split == "train"]])


def test_labels_cost_what_their_responses_cost_whatever_the_target(erp, quick):
    mean = results_of(erp("train", *quick))["economics"]
    best = results_of(erp("train", *quick, "target.kind=best_of_n", "target.n=3"))["economics"]
    assert best["labels_table"] == pytest.approx(mean["labels_table"])
    assert best["labels_learnt_from"] == pytest.approx(mean["labels_learnt_from"])


def test_on_another_table_calibration_prompts_are_left_out_too(erp, quick, tmp_path):
    answer = erp("train", *quick, "policy=guarantee")
    split = pd.read_parquet(Path(answer.last) / "split.parquet")
    frame = pd.read_parquet(quick[1].removeprefix("data.path="))
    more = frame[frame["prompt_id"] == frame["prompt_id"].iloc[0]].assign(prompt_id="new", prompt="a new one entirely")
    pd.concat([frame, more]).to_parquet(tmp_path / "more.parquet")
    again = erp("evaluate", f"run={answer.last}", "data=table", "data.path=more.parquet")
    assert again.code == 0, again.err
    tested = json.loads((Path(again.last) / "results.json").read_text())["data"]["test"]
    assert tested == (split["split"] == "test").sum() + 1
    assert "here it is only tested" in (Path(again.last) / "report.md").read_text()


def test_what_routing_costs_can_be_said_later(erp, quick):
    run = erp("train", *quick).last
    free = erp("evaluate", f"run={run}")
    dear = erp("evaluate", f"run={run}", "cost.router_per_prompt=0.5")
    assert free.last != dear.last
    assert json.loads((Path(dear.last) / "results.json").read_text())["economics"]["router_per_prompt"] == 0.5


@pytest.mark.parametrize("category", ["given", "predicted"])
def test_a_block_of_categories_behind_the_embedding(erp, quick, category):
    plain = results_of(erp("train", *quick))
    answer = erp("train", *quick, "category_block=1", f"category={category}")
    results = results_of(answer)
    assert results["prediction"]["r2_pooled"] != plain["prediction"]["r2_pooled"]
    if category == "given":
        with pytest.raises(package.ErpError, match="category"):
            package.load(answer.last).route(["no category"])
    else:
        assert len(package.load(answer.last).route(["no category"])) == 1
    again = erp("evaluate", f"run={answer.last}")
    tested = json.loads((Path(again.last) / "results.json").read_text())
    assert tested["routing"]["router"]["reward"] == pytest.approx(results["routing"]["router"]["reward"])


def test_what_auto_lets_compete_follows_the_policy(erp, quick):
    kept = ("ridge", "zooter")
    names = list(compose("train", ["router=auto"])["router"]["candidates"])
    less = ["router.folds=3", *(f"~router.candidates.{name}" for name in names if name not in kept)]
    results = results_of(erp("train", *quick, "router=auto", *less, "policy=guarantee"))
    assert results["run"]["scale"] == "reward"
    assert results["run"]["chosen"]["router"] == "ridge"  # zooter's scores are no rewards
    free = results_of(erp("train", *quick, "router=auto", *less))
    assert "utility of zooter" in free["run"]["chosen"]


def test_categories_that_were_learnt_from_are_not_needed_to_test_or_route(erp, quick, tmp_path):
    frame = pd.read_parquet(quick[1].removeprefix("data.path="))
    more = frame.drop(columns="category").assign(
        prompt_id=frame["prompt_id"] + "-b", prompt=frame["prompt"] + " indeed"
    )
    more.to_parquet(tmp_path / "without.parquet")
    run = erp("train", *quick, "router=soft_category_mean", "split.near_duplicates=null").last
    again = erp("evaluate", f"run={run}", "data=table", "data.path=without.parquet")
    assert again.code == 0, again.err
    refused = erp("train", "data=table", "data.path=without.parquet", *quick[2:], "router=soft_category_mean")
    assert refused.code == 2
    assert "router = soft_category_mean: learns from the prompt's category" in refused.err


def test_ordinal_scores_are_not_called_rewards(erp, quick, tmp_path):
    run = erp("train", *quick, "router=zooter", "trainer.max_epochs=3").last
    (tmp_path / "in.jsonl").write_text('{"prompt": "one"}\n')
    answer = json.loads(erp("route", f"run={run}", "input=in.jsonl", "output=json").out)
    assert "predicted_reward" not in answer
    assert answer["score"] == pytest.approx(answer["members"][answer["member"]]["score"])
    assert "score" in package.load(run).route(["one"])
