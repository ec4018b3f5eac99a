import json
import shutil
import subprocess
import sys
from io import StringIO

import pandas as pd
import pytest

from erp.errors import ErpError
from erp.files import write_json, write_text
from erp.programs.compare import main


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
    main([])
    captured = capsys.readouterr()
    assert "ridge-a" in captured.out
    assert "knn-b" in captured.out
    assert "left out: runs/ridge-c: not finished" in captured.err
    assert "left out: runs/ridge-d: failed: OSError: disk full" in captured.err
    (folder,) = (tmp_path / "runs" / "comparisons").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.csv", "comparison.md", "curves.png"]
    assert str(folder.relative_to(tmp_path) / "comparison.md") in captured.err
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "runs/ridge-d: failed" in text
    assert "](curves.png)" in text
    assert list(pd.read_csv(folder / "comparison.csv")["run"]) == ["ridge-a", "knn-b"]
    main([])  # the comparison's own folder is no run, and a second time changes nothing
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
    with pytest.raises(ErpError, match=r"runs = runs/knn-b: listed in elsewhere/sweeps/abc\.json, but not there"):
        main(["elsewhere/sweeps/abc.json", "out=elsewhere"])


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
    assert "runs/knn-b: its status.json or results.json cannot be read" in error
    assert "runs/knn-c: its status.json or results.json cannot be read" in error


def test_comparing_loads_no_torch():
    code = "import sys, erp.programs.compare; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
