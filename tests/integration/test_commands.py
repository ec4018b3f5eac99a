"""The commands as users chain them: train, evaluate, route, sweep, compare."""

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import erp as package
from tests.integration.conftest import SMALL
from tests.integration.tables import long_frame, results

NUMBERS = ("prediction", "routing", "policy", "curves", "interval", "audc", "shares", "regret", "data", "cost")


def test_a_run_folder_holds_everything(erp, quick):
    answer = erp("train", *quick, "figures=true")
    assert answer.code == 0, answer.err
    folder = Path(answer.last)
    assert folder.parent == Path("runs")
    names = {"config.yaml", "checkpoint.ckpt", "predictions.parquet", "results.json", "report.md", "status.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert list((folder / "figures").glob("*.png"))
    found = results(folder)
    rows = {"random", "best_single", "best_single_hindsight", "category_mean", "oracle", "router"}
    for row in rows:
        assert {"reward", "cost", "headroom_recovered", "gain_vs_best_single"} <= set(found["routing"][row])
        assert set(found["routing"][row]["gain_vs_best_single"]) == {"mean", "low", "high"}
    assert set(found["routing"]["members"]) == set(found["prediction"]["members"]) == set(found["run"]["members"])
    assert {"prompts", "members", "train", "validation", "test", "excluded"} <= set(found["data"])
    assert found["routing"]["best_single"]["headroom_recovered"] == 0
    assert found["verdict"] in answer.out


def test_the_numbers_of_a_report_follow_from_its_predictions(erp, quick):
    """pandas, from predictions.parquet alone, at lambda = 0."""
    folder = erp("train", *quick, "router=knn").last
    found = results(folder)
    predictions = pd.read_parquet(Path(folder) / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    predicted = test.pivot_table(index="prompt_id", columns="model", values="predicted")
    observed = test.pivot_table(index="prompt_id", columns="model", values="observed")
    chosen = predicted.idxmax(axis=1)
    routing = found["routing"]
    reward = np.mean([observed.loc[prompt, member] for prompt, member in chosen.items()])
    assert routing["router"]["reward"] == pytest.approx(reward, abs=1e-12)
    assert routing["oracle"]["reward"] == pytest.approx(observed.max(axis=1).mean(), abs=1e-12)
    assert routing["random"]["reward"] == pytest.approx(observed.mean(axis=1).mean(), abs=1e-12)
    best = observed[routing["best_single"]["member"]].mean()
    assert routing["best_single"]["reward"] == pytest.approx(best, abs=1e-12)
    assert routing["router"]["gain_vs_best_single"]["mean"] == pytest.approx(reward - best, abs=1e-12)
    for name, row in found["prediction"]["members"].items():
        residual = ((predicted[name] - observed[name]) ** 2).sum()
        about_mean = ((observed[name] - observed[name].mean()) ** 2).sum()
        assert row["r2"] == pytest.approx(1 - residual / about_mean, abs=1e-9)


def test_the_same_command_again_finds_the_finished_run(erp, quick):
    first = erp("train", *quick)
    stamp = (Path(first.last) / "results.json").stat().st_mtime_ns
    again = erp("train", *quick)
    assert again.last == first.last
    assert "finished already" in again.out
    assert (Path(first.last) / "results.json").stat().st_mtime_ns == stamp


def test_a_run_repeats_from_its_own_config(erp, quick):
    first = erp("train", *quick, "split.seed=3").last
    again = erp("train", f"config={first}/config.yaml", "out=elsewhere").last
    assert Path(again).parent == Path("elsewhere")
    assert Path(again).name == Path(first).name
    assert {k: results(again)[k] for k in NUMBERS} == {k: results(first)[k] for k in NUMBERS}


def test_a_failed_run_says_why_and_is_made_again(erp, quick, monkeypatch):
    from erp.programs import train

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(train, "write_report", full)
        answer = erp("train", *quick)
    assert answer.code == 2
    assert "No space left" in answer.err
    (folder,) = Path("runs").iterdir()
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "failed"
    assert "No space left" in status["error"]
    assert erp("train", *quick).code == 0


def test_evaluate_gives_the_run_s_own_numbers_bit_for_bit(erp, quick):
    folder = erp("train", *quick, "router=knn", "policy.lambda=100").last
    answer = erp("evaluate", f"run={folder}")
    assert answer.code == 0, answer.err
    again = results(answer.last)
    mine = results(folder)
    assert {k: again[k] for k in NUMBERS if k != "data"} == {k: mine[k] for k in NUMBERS if k != "data"}


def test_evaluate_on_another_table_leaves_out_what_the_router_has_seen(erp, run, tmp_path, table):
    split = pd.read_parquet(run / "split.parquet").set_index("prompt_id")["split"]
    mine = pd.read_parquet(table)
    seen_ids = split.index[split.isin(["train", "validation"])][:40]
    seen = mine[mine["prompt_id"].isin(seen_ids)].assign(prompt_id=lambda f: "other-" + f["prompt_id"])
    fresh = long_frame(prompts=90, seed=7).assign(prompt_id=lambda f: "fresh-" + f["prompt_id"])
    pd.concat([seen, fresh]).to_parquet(tmp_path / "other.parquet")
    answer = erp("evaluate", f"run={run}", "data=table", f"data.path={tmp_path / 'other.parquet'}")
    assert answer.code == 0, answer.err
    found = results(answer.last)
    assert found["data"]["test"] == 90
    assert any("40 prompts were left out" in note for note in found["data"]["notes"])


def test_unknown_costs_of_another_table_are_those_the_run_kept(erp, quick, tmp_path):
    """What they cost elsewhere in the tested table would be knowledge of test."""
    folder = erp("train", *quick, "cost.kind=tokens").last
    kept = dict(zip(package.load(folder).members, package.load(folder).bundle.train_mean_cost.tolist(), strict=True))
    fresh = long_frame(prompts=90, seed=7).assign(prompt_id=lambda f: "fresh-" + f["prompt_id"], prompt_tokens=0)
    first, name = fresh["prompt_id"].unique()[0], next(iter(kept))
    rest = (fresh["model"] == name) & (fresh["prompt_id"] != first)
    fresh.loc[rest, "completion_tokens"] = None
    paid = fresh[(fresh["model"] == name) & ~rest]["completion_tokens"].mean()
    fresh.to_parquet(tmp_path / "other.parquet")
    answer = erp("evaluate", f"run={folder}", "data=table", f"data.path={tmp_path / 'other.parquet'}")
    assert answer.code == 0, answer.err
    found = results(answer.last)
    assert found["routing"]["members"][name]["cost"] == pytest.approx((paid + 89 * kept[name]) / 90, rel=1e-9)
    assert found["cost"]["notes"] == ["unknown costs are the member's mean on train in 89 of 270 cells"]


def test_route_text_json_and_python_agree(erp, run, monkeypatch, tmp_path):
    prompts = ["integral matrix proof", "coffee with a friend"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{prompts[0]}\n\n{prompts[1]}\n".encode())))
    text = erp("route", f"run={run}")
    assert text.code == 0, text.err
    lines = [line.split("\t") for line in text.out.splitlines()]
    assert [line[0] for line in lines] == ["1", "3"]

    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in prompts))
    answers = [json.loads(x) for x in erp("route", f"run={run}", "input=in.jsonl", "output=json").out.splitlines()]
    opened = package.load(run)
    frame = opened.route(prompts)
    scores = opened.scores(prompts)
    assert list(frame["member"]) == [line[1] for line in lines] == [a["member"] for a in answers]
    assert list(scores.columns) == list(opened.members)
    assert list(frame["member"]) == list(scores.idxmax(axis=1))
    for answer, (_, row) in zip(answers, scores.iterrows(), strict=True):
        assert {n: m["predicted_reward"] for n, m in answer["members"].items()} == pytest.approx(dict(row), abs=1e-6)

    cheapest = opened.members[int(np.argmin(opened.bundle.train_mean_cost.numpy()))]
    assert set(opened.route(prompts, lambda_=float("inf"))["member"]) == {cheapest}
    assert f"\t{cheapest}\t" in erp("route", f"run={run}", "input=in.jsonl", "lambda=inf").out


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "no prompt"), ('{"prompt": "a"}\n{oops\n', "line 2 is not JSON"), ('{"text": "a"}\n', "line 1 has no text")],
)
def test_route_refuses_bad_lines_by_number(erp, run, tmp_path, content, words):
    (tmp_path / "in.jsonl").write_text(content)
    answer = erp("route", f"run={run}", "input=in.jsonl")
    assert answer.code == 2
    assert words in answer.err


def test_python_train_takes_overrides_or_a_whole_config(erp, quick):
    result = package.train([*quick, "trainer.progress=false", "figures=false"])
    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    again = package.train(config)
    assert again.folder == result.folder
    assert not again.fresh
    assert again.objective == result.objective
    with pytest.raises(package.ErpError, match="typo = 5"):
        package.train({**config, "typo": 5})


def test_describe_prints_one_json_object(erp, quick):
    data = quick[:2]
    facts = json.loads(erp("describe", *data, "output=json").out)
    assert facts["prompts"] == 240
    assert facts["members"] == 3
    assert facts["missing_cells"] == 0
    assert facts["random"] <= facts["best_single"] <= facts["category_oracle"] <= facts["oracle"]
    text = erp("describe", *data).out
    assert f"{facts['oracle']:.4f}" in text
    assert f"{facts['best_single']:.4f}" in text


def test_describe_keeps_the_digits_of_rewards_in_small_units(erp, table):
    frame = pd.read_parquet(table)
    plain = erp("describe", "data=table", f"data.path={table}").out
    frame.assign(reward=frame["reward"] * 1e-6).to_parquet("small.parquet")
    small = erp("describe", "data=table", "data.path=small.parquet").out
    best = frame.groupby("model")["reward"].mean().max()
    assert f"  best single       {best:.4f}  " in plain
    assert f"  best single       {best * 1e-6:.3e}  " in small
    assert " 0.0000" not in small


def test_describe_says_null_for_what_one_sample_cannot_tell(erp, tmp_path):
    long_frame(samples=1).to_parquet(tmp_path / "one.parquet")
    facts = json.loads(erp("describe", "data=table", "data.path=one.parquet", "output=json").out)
    assert facts["split_half_oracle"] is None
    assert set(facts["noise"]["reliability"].values()) == {None}
    assert facts["noise"]["components"]["shares"] is None
    assert "not identifiable at K=1" in erp("describe", "data=table", "data.path=one.parquet").out
    answer = erp("train", "data=table", "data.path=one.parquet", *SMALL)
    report = (Path(answer.last) / "report.md").read_text()
    assert "Reliability, variance shares and label budgets are not identifiable at K=1" in report
    assert "at K=1 its reward is the oracle's" in report
    assert "sample all, keep the favourite, at K=1: no router's equal" in report


def test_a_sweep_makes_each_run_once_and_compare_shows_them(erp, quick):
    sweep = ["train", "-m", *quick, "router=ridge,knn", "split.seed=0,1"]
    answer = erp(*sweep)
    assert answer.code == 0, answer.err
    record = next(Path("runs/sweeps").glob("*.json"))
    content = json.loads(record.read_text())
    assert len(content["runs"]) == 4
    assert {job["status"] for job in content["jobs"].values()} == {"ok"}
    stamps = {run: (Path(run) / "results.json").stat().st_mtime_ns for run in content["runs"]}

    again = erp(*sweep)
    assert again.code == 0
    assert again.out.count("finished already") == 4
    assert {run: (Path(run) / "results.json").stat().st_mtime_ns for run in stamps} == stamps
    assert next(Path("runs/sweeps").glob("*.json")) == record

    table = erp("compare", str(record))
    assert table.code == 0, table.err
    assert sum(line.startswith("| ") for line in table.out.splitlines()) >= 4 + 1
    objects = json.loads(erp("compare", "output=json").out)
    assert {o["router"] for o in objects} == {"ridge", "knn"}
    assert len(objects) == 4
    (folder,) = Path("runs/comparisons").iterdir()
    assert {"comparison.md", "comparison.html", "comparison.csv"} <= {path.name for path in folder.iterdir()}


def test_one_job_of_a_sweep_fails_and_the_others_finish(erp, quick, monkeypatch):
    from erp.routers.knn import KNN

    def broken(*_):
        raise RuntimeError("no neighbours today")

    monkeypatch.setattr(KNN, "fit", broken)
    answer = erp("train", "-m", *quick, "router=ridge,knn,category_mean")
    assert answer.code == 2
    assert "router=knn" in answer.err
    assert "no neighbours today" in answer.err
    assert "2 ok, 1 failed" in answer.out
    content = json.loads(next(Path("runs/sweeps").glob("*.json")).read_text())
    assert [job["status"] for job in content["jobs"].values()] == ["ok", "failed", "ok"]
    failed = content["jobs"]["1"]["run"]
    assert json.loads((Path(failed) / "status.json").read_text())["status"] == "failed"


def test_a_sweep_with_a_typo_starts_no_job(erp, quick):
    answer = erp("train", "-m", *quick, "router=ridge,knnn", "sed=1,2")
    assert answer.code == 2
    assert "router = knnn" in answer.err
    assert "sed = 1" in answer.err
    assert not Path("runs").exists()


def test_an_experiment_of_the_user_s_own_is_composed(erp, quick):
    answer = erp("train", "experiment=noise", "data.prompts=300", "tracking=off", "bootstrap.draws=200")
    assert answer.code == 0, answer.err
    config = yaml.safe_load((Path(answer.last) / "config.yaml").read_text())
    assert config["router"]["k"] == 5
    assert config["data"]["signal"] == 0


def test_a_router_of_the_user_s_own(erp, quick, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from erp.routers.ridge import Ridge\n"
        "class Shifted(Ridge):\n"
        "    def __init__(self, shift: float) -> None:\n"
        "        super().__init__([1.0])\n"
        "        self.shift = shift\n"
        "    def scores(self, features):\n"
        "        return super().scores(features) + self.shift\n"
    )
    (tmp_path / "myconf/router").mkdir(parents=True)
    (tmp_path / "myconf/router/mine.yaml").write_text("name: mine\n_target_: mine.Shifted\nshift: 3.0\n")
    answer = erp("train", *quick, "--config-dir", "myconf", "router=mine")
    assert answer.code == 0, answer.err
    swept = erp("train", "-m", *quick, "--config-dir=myconf", "router=mine", "split.seed=0,1")
    assert swept.code == 0, swept.err
    assert "finished already" in swept.out
    wrong = erp("train", *quick, "--config-dir", "myconf", "router=mine", "router.shift=far")
    assert "router.shift = far" in wrong.err
    refused = erp("evaluate", f"run={answer.last}")
    assert refused.code == 2
    assert "trust=true" in refused.err
    trusted = erp("evaluate", f"run={answer.last}", "trust=true")
    assert trusted.code == 0, trusted.err
    assert results(trusted.last)["prediction"] == results(answer.last)["prediction"]


def test_evaluate_leaves_out_rephrasings_of_what_was_learnt(erp, tmp_path):
    frame = long_frame().assign(group=lambda f: "g" + f["prompt_id"])
    frame.to_parquet(tmp_path / "one.parquet")
    folder = erp("train", "data=table", "data.path=one.parquet", *SMALL).last
    other = frame.assign(prompt="again: " + frame["prompt"], prompt_id="re-" + frame["prompt_id"])
    other.to_parquet(tmp_path / "other.parquet")
    answer = erp("evaluate", f"run={folder}", "data=table", "data.path=other.parquet")
    assert answer.code == 0, answer.err
    learnt = results(folder)["data"]["train"] + results(folder)["data"]["validation"]
    assert results(answer.last)["data"]["test"] == 240 - learnt
    assert any(f"{learnt} prompts were left out" in note for note in results(answer.last)["data"]["notes"])


def test_near_duplicates_of_a_table_are_searched_once_for_all_commands(erp, quick, tmp_path, monkeypatch):
    folder = erp("train", "router=ridge", *quick).last
    assert len(list((tmp_path / "cache" / "near-duplicates").iterdir())) == 1
    monkeypatch.setitem(sys.modules, "rensa", None)  # signatures cannot be made any more
    assert erp("train", "router=knn", *quick).code == 0
    assert erp("describe", *quick[:3]).code == 0
    assert erp("evaluate", f"run={folder}").code == 0


def test_evaluate_refuses_a_table_without_the_category_that_the_router_reads(erp, quick, tmp_path):
    folder = erp("train", *quick, "router=category_mean").last
    long_frame(seed=9).drop(columns="category").to_parquet(tmp_path / "bare.parquet")
    answer = erp("evaluate", f"run={folder}", "data=table", "data.path=bare.parquet")
    assert answer.code == 2
    assert "router = category_mean" in answer.err


def test_evaluate_builds_nothing_that_a_sent_folder_s_config_names(erp, run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sent.py").write_text(
        "from pathlib import Path\nfrom erp.decisions.policy import LambdaPolicy\nPath('ran').touch()\n"
        "class Policy(LambdaPolicy):\n    pass\n"
    )
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["policy"]["_target_"] = "sent.Policy"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    answer = erp("evaluate", f"run={run}")
    assert answer.code == 0, answer.err  # by the checkpoint's own policy
    assert not Path("ran").exists()


def test_figures_are_left_out_and_drawn_later(erp, quick):
    answer = erp("train", *quick, "figures=false")
    assert answer.code == 0, answer.err
    run = Path(answer.last)
    before = json.loads((run / "results.json").read_text())
    assert not (run / "figures").exists()
    assert "![" not in (run / "report.md").read_text()
    assert "<figure>" not in (run / "report.html").read_text()

    again = erp("train", *quick, "figures=true")
    assert Path(again.last) == run
    assert "finished already" in again.out
    assert {file.suffix for file in (run / "figures").iterdir()} == {".png", ".svg"}
    assert "![" in (run / "report.md").read_text()
    assert json.loads((run / "results.json").read_text()) == before


def test_a_table_of_pass_rates_has_ceilings_and_a_split_half_oracle(erp, tmp_path):
    frame = long_frame(prompts=240, members=3, samples=10)
    frame["reward"] = (frame["reward"] > frame["reward"].median()).astype(float)
    of = frame.groupby(["prompt_id", "prompt", "category", "model"])
    of.agg(reward=("reward", "mean"), n_samples=("reward", "size"), cost_usd=("cost_usd", "mean")).reset_index().to_csv(
        "rates.csv", index=False
    )
    said = erp("describe", "data=table", "data.path=rates.csv").out
    assert "240 prompts x 3 members, K = 10" in said
    assert "variance of a sampled reward: prompt" in said
    assert "K=1" not in said
    run = erp("train", "data=table", "data.path=rates.csv", *SMALL, "router=ridge")
    assert run.code == 0, run.err
    found = results(run.last)
    assert found["oracle_split_half"]["reward"] < found["routing"]["oracle"]["reward"]
    assert 0 < found["prediction"]["r2_pooled_ceiling"] < 1
    report = (Path(run.last) / "report.md").read_text()
    assert "identifiable" not in report


def test_a_run_that_knows_prompts_by_ids_of_folded_texts_still_knows_them(erp, tmp_path):
    frame = long_frame().drop(columns="prompt_id")
    frame["prompt"] = frame["prompt"] + "\n  and so on"
    frame.to_parquet("t.parquet")
    quick = (*SMALL, "router=ridge")
    run = Path(erp("train", "data=table", "data.path=t.parquet", *quick).last)
    split = pd.read_parquet(run / "split.parquet")
    texts = {f"p-{hashlib.sha256(text.encode()).hexdigest()[:16]}": text for text in frame["prompt"].unique()}
    split["prompt_id"] = [
        f"p-{hashlib.sha256(' '.join(texts[key].split()).encode()).hexdigest()[:16]}" for key in split["prompt_id"]
    ]
    split.to_parquet(run / "split.parquet", index=False)
    said = erp("evaluate", f"run={run}", "data=same")
    assert said.code == 0, said.err
    again, first = results(said.last)["data"], results(run)["data"]
    assert [again[part] for part in ("train", "validation", "test")] == [
        first["train"],
        first["validation"],
        first["test"],
    ]


def test_cached_responses_are_marked_wherever_noise_is(erp, tmp_path):
    frame = long_frame(samples=1).drop(columns="sample")
    cached = frame.loc[frame.index.repeat(3)].reset_index(drop=True)
    cached.to_parquet("logged.parquet")
    refused = erp("describe", "data=table", "data.path=logged.parquet")
    assert refused.code == 2
    assert "1,440 of 2,160 rows repeat an earlier row" in refused.faults[0]
    assert "data.copies=fold" in refused.faults[0]
    assert (
        "not identifiable at K=1" in erp("describe", "data=table", "data.path=logged.parquet", "data.copies=fold").out
    )
    cached.assign(sample=cached.groupby(["prompt_id", "model"]).cumcount()).to_parquet("numbered.parquet")
    said = erp("describe", "data=table", "data.path=numbered.parquet").out
    assert "warning: not to be believed, because samples look like copies (" in said
    quick = (*SMALL, "router=ridge")
    run = Path(erp("train", "data=table", "data.path=numbered.parquet", *quick).last)
    assert results(run)["noise"]["doubt"].startswith("not to be believed")
    report = (run / "report.md").read_text()
    for claim in ("What is said of noise", "The split-half oracle is", "What a perfect predictor would reach is"):
        assert any(claim in line and "not to be believed" in line for line in report.splitlines()), claim
