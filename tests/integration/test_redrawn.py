"""`erp report`: a run's report again, from its numbers alone."""

import shutil
from pathlib import Path

import pytest

NUMBERS = ("results.json", "predictions.parquet")


@pytest.fixture
def run(erp, quick):
    return Path(erp("train", *quick, "router=ridge", "figures=true").last)


def files(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_report_comes_of_the_numbers_alone(erp, run, tmp_path):
    before = files(run)
    shutil.rmtree(run / "figures")
    for name in ("report.md", "report.html", "checkpoint.ckpt", "config.yaml"):
        (run / name).unlink()
    answer = erp("report", f"run={run}")
    assert answer.code == 0, answer.err
    assert answer.last == f"report: {run / 'report.html'}"
    after = files(run)
    assert {name: after[name] for name in NUMBERS} == {name: before[name] for name in NUMBERS}
    assert after["report.md"] == before["report.md"]
    assert {name for name in after if name.startswith("figures/")} == {n for n in before if n.startswith("figures/")}
    # elsewhere, and without figures
    answer = erp("report", f"run={run}", f"out={tmp_path / 'there'}", "figures=false")
    assert answer.code == 0, answer.err
    assert set(files(tmp_path / "there")) == {"report.md", "report.html"}
    assert files(run) == after


def test_an_evaluation_has_a_report_too(erp, run):
    assert erp("evaluate", f"run={run}", "figures=true").code == 0
    (evaluation,) = (run / "evaluations").iterdir()
    before = (evaluation / "report.md").read_bytes()
    (evaluation / "report.md").unlink()
    assert erp("report", f"run={evaluation}").code == 0
    assert (evaluation / "report.md").read_bytes() == before


def test_no_numbers_are_a_line(erp, run, tmp_path):
    for missing in (tmp_path / "nowhere", tmp_path):
        answer = erp("report", f"run={missing}")
        assert answer.code == 2
        assert answer.faults == [
            f"erp report: run = {missing}: no results.json with a predictions.parquet beside it; give the folder of a "
            "finished run, or of an evaluation of one"
        ]
    (run / "predictions.parquet").write_bytes(b"no parquet")
    answer = erp("report", f"run={run}")
    assert answer.code == 2
    assert len(answer.faults) == 1
    assert "no report can be made" in answer.faults[0]
