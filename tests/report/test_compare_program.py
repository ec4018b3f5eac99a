import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.evaluation.comparison.tested import read_tested
from erp.files import write_json, write_text
from erp.programs import compare
from erp.runs import RunFolder


def main(arguments):
    """Figures take most of a comparison's time: a test that looks at them asks for them."""
    compare.main(arguments if any("figures=" in word for word in arguments) else [*arguments, "figures=false"])


@pytest.fixture
def make_run(tmp_path, results, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name, status="ok", **more):
        folder = tmp_path / "runs" / name
        write_text(folder / "config.yaml", "seed: 0\n")
        write_json(folder / "status.json", {"status": status, "error": "OSError: disk\nfull"})
        if status == "ok":
            write_json(folder / "results.json", results(name=name, **more))
        return f"runs/{name}"

    return make


def sweep_file(tmp_path, runs, failed=()):
    jobs = {str(i): {"run": run, "status": "ok", "error": None, "overrides": []} for i, run in enumerate(runs)}
    for run, error in failed:
        jobs[str(len(jobs))] = {"run": run, "status": "failed", "error": error, "overrides": ["router=knn"]}
    path = tmp_path / "runs" / "sweeps" / "abc.json"
    write_json(path, {"sweep": "abc", "jobs": jobs, "runs": [*runs, *[run for run, _ in failed if run]]})
    return path


def test_finished_runs_under_out(make_run, tmp_path, capsys):
    make_run("ridge-a", router=0.65)
    make_run("knn-b", router=0.62, router_name="knn")
    make_run("ridge-c", status="running")
    make_run("ridge-d", status="failed")
    main(["figures=true"])
    captured = capsys.readouterr()
    assert "ridge-a" in captured.out
    assert "knn-b" in captured.out
    assert "left out: runs/ridge-c: not finished" in captured.err
    assert "left out: runs/ridge-d: failed: OSError: disk full" in captured.err
    (folder,) = (tmp_path / "runs" / "comparisons").iterdir()
    names = [
        "comparison.csv", "comparison.html", "comparison.md", "contenders.csv", "curves-skywork.png",
        "curves-skywork.svg", "members.csv", "pairs.csv",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == names, "no predictions: no differences to draw"
    assert pd.read_csv(folder / "pairs.csv").empty
    assert str(folder.relative_to(tmp_path) / "comparison.md") in captured.err
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "runs/ridge-d: failed" in text
    assert "](curves-skywork.png)" in text
    assert list(pd.read_csv(folder / "comparison.csv")["run"]) == ["ridge-a", "knn-b"]
    main(["figures=true"])  # the comparison's own folder is no run, and a second time changes nothing
    assert [path.name for path in (tmp_path / "runs" / "comparisons").iterdir()] == [folder.name]


def test_outputs(make_run, capsys):
    run = make_run("ridge-a")
    main([run, "output=json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["gain"] == pytest.approx(0.04)
    main([run, run, "output=csv"])
    frame = pd.read_csv(StringIO(capsys.readouterr().out))
    assert len(frame) == 1, "given twice, counted once"
    main([f"runs=[{run}]"])
    assert "ridge-a" in capsys.readouterr().out


def test_sweep_names_its_failed_jobs(make_run, tmp_path, capsys):
    runs = [make_run("ridge-a"), make_run("knn-b")]
    broken = make_run("knn-c", status="failed")
    path = sweep_file(tmp_path, runs, [(broken, "k = 0:\ntoo few"), (None, "router = x: there is no such option")])
    main([str(path)])
    captured = capsys.readouterr()
    assert "ridge-a" in captured.out
    assert "left out: router=knn (runs/knn-c): failed: k = 0: too few" in captured.err
    assert "left out: router=knn: failed: router = x: there is no such option" in captured.err


def test_a_job_that_failed_and_was_mended_since_counts(make_run, tmp_path, capsys):
    path = sweep_file(tmp_path, [make_run("ridge-a")], [(make_run("knn-b"), "interrupted")])
    main([str(path)])
    captured = capsys.readouterr()
    assert "knn-b" in captured.out
    assert "left out" not in captured.err


def test_a_sweep_moved_with_its_runs(make_run, tmp_path, capsys):
    sweep_file(tmp_path, [make_run("ridge-a"), make_run("knn-b")])
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    main(["elsewhere/sweeps/abc.json", "out=elsewhere"])
    assert "knn-b" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "elsewhere" / "knn-b")
    main(["elsewhere/sweeps/abc.json", "out=elsewhere"])
    said = capsys.readouterr()
    assert "left out: runs/knn-b: listed in elsewhere/sweeps/abc.json, but not there" in said.err
    assert "ridge-a" in said.out, "one that is gone does not end the comparison of the others"


def test_all_wrong_paths_are_named_at_once(make_run, tmp_path):
    make_run("ridge-a")
    write_text(tmp_path / "notes.json", "[1")
    with pytest.raises(ErpError) as caught:
        main(["runs/ridge-a", "nowhere", "runs", "notes.json"])
    assert len(caught.value.faults) == 3
    assert caught.value.faults[0].startswith("runs = nowhere: there is no such run folder")
    assert "give out=runs" in caught.value.faults[1]
    assert "is no sweep file" in caught.value.faults[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "out = runs: there is no such folder"),
        (["-m"], "-m: erp compare has no flags"),
        (["ouput=json"], "did you mean"),
        (["output=xml"], "output = xml"),
        (["output=csv", "table=rows"], "table = rows"),
        (["output=html", "table=runs"], "table = runs: output = html shows all tables"),
        (["output=latex", "table=curves"], "table = curves: is not made for output = latex; contenders, pairs and"),
        (["table=pairs"], "table = pairs: output = markdown shows all tables; give output=csv, output=json or"),
        (["bootstrap.draws=3"], r"bootstrap\.draws = 3"),
    ],
)
def test_faults_of_the_command(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ErpError, match=message):
        main(arguments)


def test_nothing_finished(make_run, capsys):
    run = make_run("ridge-a", status="running")
    with pytest.raises(ErpError, match=r"none of them is finished \(1 left out\)"):
        main([run])
    assert "not finished" in capsys.readouterr().err


def test_results_of_another_age_are_left_out(make_run, tmp_path, capsys):
    make_run("ridge-a")
    make_run("knn-b")
    write_json(tmp_path / "runs" / "knn-b" / "results.json", {"run": {}})
    make_run("knn-c")
    write_text(tmp_path / "runs" / "knn-c" / "status.json", "{")
    main([])
    error = capsys.readouterr().err
    assert "runs/knn-b: results.json cannot be read (run.router: Field required" in error
    assert "runs/knn-c: its status.json cannot be read" in error


def test_comparing_loads_no_torch():
    code = "import sys, erp.programs.compare; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four real runs, two routers on two splits, with cells missing; torch is loaded only here."""
    from erp.programs.train import train

    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERP_CACHE", str(out / "cache"))
        common = [
            "data=synthetic", "data.prompts=240", "data.members=3", "data.missing=0.02", "backbone=hashing",
            "tracking=off", "figures=false", "bootstrap.draws=200", "trainer.progress=false", f"out={out / 'runs'}",
        ]  # fmt: skip
        made = [
            train([*common, f"router={router}", f"split.seed={seed}"]) for router in ("ridge", "knn") for seed in (0, 1)
        ]
    return [result.folder for result in made]


@pytest.fixture
def real(trained, tmp_path, monkeypatch):
    """Copies of the real runs, as `runs/ridge-0`, `runs/ridge-1`, `runs/knn-0`, `runs/knn-1`."""
    monkeypatch.chdir(tmp_path)
    for folder, name in zip(trained, ("ridge-0", "ridge-1", "knn-0", "knn-1"), strict=True):
        shutil.copytree(folder, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_rewards_and_gains_are_those_of_the_runs_own_reports(real):
    results = {path: json.loads((path / "results.json").read_text()) for path in sorted(real.iterdir())}
    tested, unpaired = read_tested(list(results.items()))
    assert unpaired == []
    for run in tested:
        routing, data = results[run.folder]["routing"], results[run.folder]["data"]
        assert data["excluded"] > 0
        assert len(run.ids) == data["test"] - data["excluded"]
        assert run.reward.mean() == pytest.approx(routing["router"]["reward"], abs=1e-12)
        assert run.cost.mean() == pytest.approx(routing["router"]["cost"], rel=1e-12)
        assert run.single.mean() == pytest.approx(routing["best_single"]["reward"], abs=1e-12)
        assert run.gain.mean() == pytest.approx(routing["router"]["gain_vs_best_single"]["mean"], abs=1e-12)


def test_ties_go_to_the_cheapest_then_to_pool_order(real):
    """pandas, prompt by prompt, on predictions that are all ties."""
    folder = real / "knn-0"
    predictions = pd.read_parquet(folder / "predictions.parquet").assign(predicted=1.0)
    predictions["predicted_cost"] = predictions["model"].map(
        dict(zip(predictions["model"].unique(), (2.0, 1.0, 1.0), strict=True))
    )
    predictions.to_parquet(folder / "predictions.parquet")
    results = json.loads((folder / "results.json").read_text())
    observed = predictions[predictions["split"] == "test"].pivot_table(
        index="prompt_id", columns="model", values="observed", dropna=False
    )
    cheaper = results["run"]["members"][1]
    expected = observed.dropna()[cheaper]
    costs = predictions[(predictions["split"] == "test") & (predictions["model"] == cheaper)].set_index("prompt_id")
    results["routing"]["router"]["reward"] = float(expected.mean())
    results["routing"]["router"]["cost"] = float(costs["cost"][expected.index].mean())
    (run,), _ = read_tested([(folder, results)])
    assert pd.Series(run.reward, run.ids).sort_index().tolist() == expected.sort_index().tolist()


def test_contenders_and_pairs_of_real_runs(real, capsys):
    main(["figures=true"])
    said = capsys.readouterr()
    order = [said.out.index(heading) for heading in ("## Contenders", "## Differences", "## Members", "## Runs")]
    assert order == sorted(order)
    (folder,) = (real / "comparisons").iterdir()
    assert str(folder.relative_to(real.parent) / "differences.png") in said.err
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "](differences.png)" in text
    assert text.index("## Contenders") < text.index("## Differences") < text.index("## Runs")
    contenders, pairs = (pd.read_csv(folder / f"{name}.csv") for name in ("contenders", "pairs"))
    assert set(contenders["contender"]) == {"ridge", "knn"}
    assert contenders["runs"].tolist() == contenders["splits"].tolist() == [2, 2]
    assert len(pairs) == 3
    both = contenders.set_index("contender")["reward"]
    first, second = pairs[["first", "second"]].iloc[0]
    assert pairs["difference"].iloc[0] == pytest.approx(both[first] - both[second], abs=1e-12)
    shutil.rmtree(folder)
    main(["output=csv", "table=pairs", "bootstrap.draws=100", "bootstrap.level=0.99"])
    said = capsys.readouterr()
    (needed,) = re.findall(r"with 100 draws no difference can be significant.*give bootstrap\.draws=(\d+)", said.err)
    assert 200 < int(needed) < 260, "2 / .01 of very many groups, more of so many"
    assert pd.read_csv(StringIO(said.out))["first"].tolist() == pairs["first"].tolist()
    main(["output=json", "table=contenders"])
    plain = json.loads(capsys.readouterr().out)
    assert [row["contender"] for row in plain] == contenders["contender"].tolist()
    assert plain[0]["sd_over_seeds"] is None
    main(["output=json"])
    assert len(json.loads(capsys.readouterr().out)) == 4, "the runs, as ever"


def test_each_output_is_one_thing(real, capsys):
    run = ["runs/ridge-0", "bootstrap.draws=100"]
    main([*run, "output=html"])
    page = capsys.readouterr().out
    (folder,) = (real / "comparisons").iterdir()
    assert page == (folder / "comparison.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    main([*run, "output=latex"])
    assert capsys.readouterr().out.startswith("\\begin{table}")


@pytest.mark.parametrize("table", ["members", "curves"])
def test_a_table_as_csv_and_as_json(real, capsys, table):
    main(["runs/ridge-0", "bootstrap.draws=100", "output=csv", f"table={table}"])
    frame = pd.read_csv(StringIO(capsys.readouterr().out))
    main(["runs/ridge-0", "bootstrap.draws=100", "output=json", f"table={table}"])
    plain = json.loads(capsys.readouterr().out)
    results = json.loads((real / "ridge-0" / "results.json").read_text())
    expected = {"members": 4, "curves": len(results["curves"]["router"]["cost"])}[table]
    assert len(plain) == len(frame) == expected
    assert list(plain[0]) == list(frame.columns)


def test_a_run_of_long_ago_has_gaps_and_no_crash(real, capsys):
    """As much as can be missing is missing: what is left says what the run is."""
    path = real / "knn-0" / "results.json"
    whole = json.loads(path.read_text())
    names = ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed", "lambda")
    write_json(path, {"run": {name: whole["run"][name] for name in names}, "cost": {"unit": whole["cost"]["unit"]}})
    main([])
    said = capsys.readouterr()
    assert "not in the pairs: runs/knn-0: results.json names no best single member" in said.err
    (folder,) = (real / "comparisons").iterdir()
    runs, members = (pd.read_csv(folder / f"{name}.csv") for name in ("comparison", "members"))
    old = runs.set_index("run").loc["knn-0"]
    assert old[["reward", "gain", "audc", "test_prompts"]].isna().all()
    assert old["contender"] == "knn"
    assert members.set_index(["contender", "member"]).loc[("knn", "pooled"), "runs"] == 2
    assert members["r2"].notna().all(), "of the other split"
    main(["runs/knn-0"])
    text = capsys.readouterr().out
    assert "| knn-0 |" in text
    write_text(real / "knn-0" / "config.yaml", "[")
    main(["runs/knn-0"])
    assert "config.yaml" in capsys.readouterr().err


def test_a_copied_run_cannot_be_told_from_itself(real, capsys):
    shutil.copytree(real / "ridge-0", real / "ridge-copy")
    main(["runs/ridge-0", "runs/ridge-copy", "output=json", "table=pairs"])
    row = json.loads(capsys.readouterr().out)[0]
    assert [row[name] for name in ("difference", "low", "high", "p_adjusted")] == [0, 0, 0, 1]
    assert row["verdict"] == "not significant"


def test_settings_tell_contenders_apart_and_defaults_do_not(real, capsys):
    """As if one run had other alphas, and another were made before `split.overlap` had its default."""
    changed, older = (real / name / "config.yaml" for name in ("ridge-0", "knn-0"))
    changed.write_text(changed.read_text().replace("alphas: null", "alphas: [1.0]"))
    assert "alphas: [1.0]" in changed.read_text()
    older.write_text(older.read_text().replace("  overlap: error\n", ""))
    assert "overlap" not in older.read_text()
    main(["output=json", "table=contenders"])
    found = {row["contender"]: row["runs"] for row in json.loads(capsys.readouterr().out)}
    assert found == {"knn": 2, "ridge, alphas=[1]": 1, "ridge, alphas=null": 1}, "1 and 1.0 are one setting"


@pytest.fixture(scope="module")
def left_out(tmp_path_factory):
    """Real runs, two routers without code and without math, and one router on two shares of test."""
    from erp.programs.train import train

    out = tmp_path_factory.mktemp("left_out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERP_CACHE", str(out / "cache"))
        common = [
            "data=synthetic", "data.prompts=200", "data.members=3", "backbone=hashing", "tracking=off",
            "figures=false", "bootstrap.draws=200", "trainer.progress=false", f"out={out / 'runs'}",
        ]  # fmt: skip
        return {
            name: train([*common, f"router={name.split('-')[0]}", *more]).folder
            for name, more in {
                **{f"{router}-{category}": ["split.by=category", f"split.category={category}"]
                   for router in ("ridge", "knn") for category in ("code", "math")},
                "ridge-half": [], "ridge-third": ["split.test=0.3"],
            }.items()
        }  # fmt: skip


def test_a_router_over_all_left_out_categories_is_one_contender(left_out, tmp_path, monkeypatch, capsys):
    """Counts, gains, members and differences from the run folders by pandas."""
    monkeypatch.chdir(tmp_path)
    runs = {name: folder for name, folder in left_out.items() if name.endswith(("code", "math"))}
    results = {name: json.loads((folder / "results.json").read_text()) for name, folder in runs.items()}
    main(list(map(str, runs.values())))
    text = capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "comparisons").iterdir()
    contenders, pairs, members = (pd.read_csv(folder / f"{name}.csv") for name in ("contenders", "pairs", "members"))
    assert "not compared" not in text.replace("without rows they are not compared", "")
    assert set(contenders["contender"]) == {"ridge", "knn"}
    assert contenders[["runs", "splits", "seeds"]].to_numpy().tolist() == [[2, 2, 1]] * 2
    sizes = {name: results[f"ridge-{name}"]["data"]["test"] for name in ("code", "math")}
    first, second = pairs.iloc[0][["first", "second"]]
    assert pairs["rows"].tolist() == [sum(sizes.values())] * 3
    reward = {name: run["routing"]["router"]["reward"] for name, run in results.items()}
    differences = [sizes[name] * (reward[f"{first}-{name}"] - reward[f"{second}-{name}"]) for name in sizes]
    assert pairs["difference"].iloc[0] == pytest.approx(sum(differences) / sum(sizes.values()))
    gains = [results[f"ridge-{name}"]["routing"]["router"]["gain_vs_best_single"]["mean"] for name in sizes]
    ridge = contenders.set_index("contender").loc["ridge"]
    assert ridge["sd_over_splits"] == pytest.approx(np.std(gains, ddof=1))
    member = results["ridge-code"]["run"]["members"][0]
    costs = [results[f"ridge-{name}"]["routing"]["members"][member]["cost"] for name in sizes]
    row = members.set_index(["contender", "member"]).loc[("ridge", member)]
    assert (row["splits"], row["cost"]) == (2, pytest.approx(np.mean(costs)))


def test_kinds_of_split_are_contenders_of_their_own_and_are_not_compared(left_out, tmp_path, monkeypatch, capsys):
    """One seed in all of them; another share of test is another split, and a category never seen another question."""
    monkeypatch.chdir(tmp_path)
    names = ("ridge-code", "ridge-math", "ridge-half", "ridge-third")
    main([*(str(left_out[name]) for name in names), "output=json", "table=pairs"])
    pairs = json.loads(capsys.readouterr().out)
    assert {row["first"] for row in pairs} == {
        "ridge, by=category, test=0.5", "ridge, by=group, test=0.5", "ridge, by=group, test=0.3",
    }  # fmt: skip
    between = [row for row in pairs if row["second"] != "best single"]
    assert [(row["rows"], row["p_adjusted"], row["verdict"]) for row in between] == [(0, None, "not compared")] * 3
    alone = sorted(row["p_value"] for row in pairs if row["second"] == "best single")
    assert alone[0] <= min(row["p_adjusted"] for row in pairs if row["p_adjusted"] is not None) <= min(1, 3 * alone[0])
    (folder,) = (tmp_path / "runs" / "comparisons").iterdir()
    lead = (folder / "comparison.md").read_text(encoding="utf-8").split("\n\n")[1]
    assert "largest gain" not in lead
    assert "each of the others" not in lead
    places = pd.read_csv(folder / "contenders.csv")
    assert sorted(places["splits"]) == [1, 1, 2]


def spoil(folder, how):
    predictions, split = folder / "predictions.parquet", folder / "split.parquet"
    if how == "missing":
        predictions.unlink()
    elif how == "no split":
        split.unlink()
    elif how == "garbage":
        predictions.write_bytes(b"PAR1")
    elif how == "other run":
        shutil.copy(folder.parent / "ridge-1" / "predictions.parquet", predictions)
    elif how == "columns":
        pd.read_parquet(predictions).drop(columns="predicted_cost").to_parquet(predictions)
    elif how == "cut":
        pd.read_parquet(predictions).iloc[:-1].to_parquet(predictions)
    elif how == "twice":  # one test row stands in place of another
        frame = pd.read_parquet(predictions)
        test = frame.index[frame["split"] == "test"]
        frame.loc[test[-1]] = frame.loc[test[0]]
        frame.to_parquet(predictions)
    elif how == "other costs":
        frame = pd.read_parquet(predictions)
        frame.assign(cost=frame["cost"] * 0.9).to_parquet(predictions)
    elif how == "scores":
        pd.read_parquet(predictions).assign(predicted=np.nan).to_parquet(predictions)
    elif how == "split of others":
        pd.read_parquet(split).assign(prompt_id="x").to_parquet(split)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "predictions.parquet cannot be read (it is not there)"),
        ("no split", "split.parquet cannot be read (it is not there)"),
        ("garbage", "predictions.parquet cannot be read ("),
        ("other run", "predictions.parquet gives another reward than results.json"),
        ("other costs", "predictions.parquet gives another cost than results.json"),
        ("columns", "predictions.parquet cannot be read ("),
        ("cut", "does not have every test prompt once for every member"),
        ("twice", "does not have every test prompt once for every member"),
        ("scores", "scores"),
        ("split of others", "split.parquet lacks prompts"),
    ],
)
def test_a_run_that_cannot_be_paired_still_stands_among_the_runs(real, capsys, how, reason):
    spoil(real / "knn-0", how)
    main([])
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("not in the pairs")]
    assert line.startswith("not in the pairs: runs/knn-0: ")
    assert reason in line
    runs, contenders = (
        pd.read_csv(next((real / "comparisons").iterdir()) / f"{name}.csv") for name in ("comparison", "contenders")
    )
    assert len(runs) == 4
    assert contenders["runs"].sum() == 3
    assert "Not in the pairs:" in (next((real / "comparisons").iterdir()) / "comparison.md").read_text()


@pytest.mark.parametrize("read", [0.0, 2.5])
def test_results_of_before_answers_were_told_apart_are_paired_as_they_were(real, read):
    """Form 6 told what answers cost that are read before the decision within the router's cost alone."""
    (now,), _ = read_tested([(real / "knn-0", json.loads((real / "knn-0" / "results.json").read_text()))])
    old = json.loads((real / "knn-0" / "results.json").read_text())
    old["format"] = 6
    del old["cost"]["read_first"]
    old["routing"]["router"]["cost"] += read
    (real / "knn-0" / "results.json").write_text(json.dumps(old))
    (found,), unpaired = read_tested([(real / "knn-0", RunFolder(real / "knn-0").load_results())])
    assert unpaired == []
    assert found.cost == pytest.approx(now.cost + read)


def test_a_figure_of_differences_goes_with_the_predictions(real):
    main(["runs/knn-0", "figures=true"])
    (folder,) = (real / "comparisons").iterdir()
    assert (folder / "differences.png").exists()
    (real / "knn-0" / "predictions.parquet").unlink()
    main(["runs/knn-0", "figures=true"])
    assert not (folder / "differences.png").exists()
    assert "differences.png" not in (folder / "comparison.md").read_text()


def test_pairing_loads_no_torch(real):
    code = (
        "import sys; from erp.programs.compare import main; main([]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'matplotlib.pyplot')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert "## Differences" in done.stdout
