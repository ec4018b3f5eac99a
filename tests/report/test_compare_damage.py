"""One damaged run beside two whole ones: it is left out and named in one line, and the others are compared."""

import json
import shutil

import pandas as pd
import pytest

from erp.cli import main
from erp.files import write_json
from tests.edits import edited, places

WRONG = (None, "text", 7, -3.5, True, [], {}, [None], {"a": 1}, 1e300, [1e308, "x"])
OUTPUTS = (
    ["output=markdown"], ["output=html"], ["output=latex"], ["output=latex", "table=members"],
    ["output=latex", "table=pairs"], *([f"output={kind}", f"table={table}"] for kind in ("csv", "json")
      for table in ("runs", "contenders", "pairs", "members", "curves")),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three real runs."""
    from erp.programs.train import train

    out = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERP_CACHE", str(out / "cache"))
        common = [
            "data=synthetic", "data.prompts=120", "data.members=3", "backbone=hashing", "tracking=off", "figures=false",
            "bootstrap.draws=100", "trainer.progress=false", f"out={out / 'runs'}",
        ]  # fmt: skip
        for name in ("ridge", "knn", "category_mean"):
            train([*common, f"router={name}"]).folder.rename(out / "runs" / name)
    return out / "runs"


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ridge", "knn", "category_mean"):
        shutil.copytree(made / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def compare(capsys, *arguments):
    drawn = [] if any("figures=" in word for word in arguments) else ["figures=false"]
    code = main(["compare", "bootstrap.draws=100", *drawn, *arguments])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said


TEXTS = {
    "cut": lambda text: text[:-200],
    "empty": lambda text: "",
    "deep": lambda text: "[" * 100_000,
    "list": lambda text: "[]",
    "nan": lambda text: json.dumps(edited(json.loads(text), ("routing", "router", "reward"), float("nan"))),
}
COLUMNS = {
    "texts": lambda frame: frame.assign(predicted=frame["predicted"].astype(str)),
    "infinite": lambda frame: frame.assign(observed=float("inf")),
    "lists": lambda frame: frame.assign(prompt_id=[["a"]] * len(frame)),
}


def damage(folder, how):
    results, predictions = folder / "results.json", folder / "predictions.parquet"
    if how in TEXTS:
        results.write_text(TEXTS[how](results.read_text()))
    elif how in COLUMNS:
        COLUMNS[how](pd.read_parquet(predictions)).to_parquet(predictions)
    elif how == "bytes":
        results.write_bytes(b"\xff\xfe\x00{}")
    elif how == "folder":
        results.unlink()
        results.mkdir()
    elif how == "status":
        (folder / "status.json").write_text("[1")
    elif how == "config":
        (folder / "config.yaml").write_text("{[")
    elif how == "no config":
        (folder / "config.yaml").unlink()
    elif how == "no predictions":
        predictions.unlink()
    elif how == "predictions":
        predictions.write_bytes(predictions.read_bytes()[:300])


LEFT_OUT = ("cut", "empty", "bytes", "deep", "list", "nan", "folder", "status")
NOT_PAIRED = ("config", "no config", "no predictions", "predictions", "texts", "infinite", "lists")


@pytest.mark.parametrize("how", LEFT_OUT + NOT_PAIRED)
def test_a_damaged_run_is_named_in_one_line_and_the_others_are_compared(runs, capsys, how):
    damage(runs / "knn", how)
    code, said = compare(capsys, "runs/ridge", "runs/knn", "runs/category_mean")
    assert code == 0
    kind = "left out: " if how in LEFT_OUT else "not in the pairs: "
    (line,) = [line for line in said.err.splitlines() if line.startswith(kind)]
    assert line.startswith(f"{kind}runs/knn: ")
    assert "better than" in said.out or "category" in said.out
    (page,) = (runs / "comparisons").glob("*/comparison.md")
    assert "runs/knn: " in page.read_text()
    code, said = compare(capsys, "runs/ridge", "runs/knn", "output=csv")
    assert (code, said.err.count(f"{kind}runs/knn: ")) == (0, 1)


@pytest.mark.parametrize("how", LEFT_OUT)
def test_nothing_but_damaged_runs_is_an_error(runs, capsys, how):
    damage(runs / "knn", how)
    code, said = compare(capsys, "runs/knn")
    assert code == 2
    assert "none of them is finished" in said.err


@pytest.mark.parametrize("output", OUTPUTS, ids=" ".join)
def test_every_output_leaves_it_out(runs, capsys, output):
    damage(runs / "knn", "nan")
    code, said = compare(capsys, *output)
    assert code == 0
    assert "left out: runs/knn: results.json cannot be read" in said.err
    assert "ridge" in said.out


def test_a_sweep_with_a_damaged_run_and_one_that_is_gone(runs, capsys):
    damage(runs / "knn", "cut")
    shutil.rmtree(runs / "category_mean")
    folders = ["runs/ridge", "runs/knn", "runs/category_mean"]
    jobs = {str(k): {"run": run, "status": "ok", "error": None, "overrides": []} for k, run in enumerate(folders)}
    write_json(runs / "sweeps" / "one.json", {"sweep": "one", "runs": folders, "jobs": jobs})
    code, said = compare(capsys, "runs/sweeps/one.json")
    assert code == 0
    assert "left out: runs/knn: " in said.err
    assert "left out: runs/category_mean: listed in runs/sweeps/one.json, but not there" in said.err


@pytest.mark.parametrize("key", ["runs", "jobs"])
@pytest.mark.parametrize("value", [value for value in WRONG if value not in ([], {})], ids=repr)
def test_a_damaged_record_is_one_line(runs, capsys, key, value):
    record = {"sweep": "one", "runs": ["runs/ridge"], "jobs": {}, key: value}
    write_json(runs / "sweeps" / "one.json", record)
    code, said = compare(capsys, "runs/sweeps/one.json")
    assert code == 2
    assert "is no sweep file" in said.err


def outcomes(capsys, folder, results, changes, *output):
    """How many of some changes of ``results.json`` leave the run out; none may end the comparison."""
    left_out = 0
    for place, changed in changes:
        write_json(folder / "results.json", changed)
        code, said = compare(capsys, "runs/ridge", "runs/knn", *output)
        assert code == 0, place
        assert said.out, place
        left_out += "left out: runs/knn: " in said.err
    write_json(folder / "results.json", results)
    return left_out


def test_what_says_what_the_run_is_cannot_be_missing_or_of_another_type(runs, capsys):
    results = json.loads((runs / "knn" / "results.json").read_text())
    names = ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed")
    changes = [(name, edited(results, ("run", name))) for name in names]
    changes += [(name, edited(results, ("run", name), value)) for name in names for value in (None, {"a": 1})]
    assert outcomes(capsys, runs / "knn", results, changes, "output=csv") == len(changes)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["gone", *WRONG], ids=repr)
def test_no_edit_of_results_ends_the_comparison(runs, capsys, value):
    results = json.loads((runs / "knn" / "results.json").read_text())
    sections = (
        "run", "data", "cost", "prediction", "routing", "curves", "policy", "audc", "regret", "chosen_on_validation"
    )  # fmt: skip
    found = [place for place in places(results) if place[0] in sections or len(place) == 1]
    changes = [(place, edited(results, place, *([] if value == "gone" else [value]))) for place in found]
    outcomes(capsys, runs / "knn", results, changes, "output=csv", "table=curves")
