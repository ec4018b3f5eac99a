"""A run folder that can be read and not written to: found finished, tested, asked, compared; nothing in it changes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.tables import long_frame, results
from tests.integration.test_bad_input import refused


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def run(run):
    """A finished run, its folder mounted to be read alone, or without the right to write for who is no root."""
    runs = Path("runs").resolve()
    before = contents(runs)
    if os.geteuid():
        for path in [runs, *runs.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    else:
        mount = shutil.which("mount")
        if mount is None or subprocess.run([mount, "--bind", "-o", "ro", runs, runs], check=False).returncode:
            pytest.skip("root can write everywhere, and no mount can be made here")
    try:
        yield run
        assert contents(runs) == before
    finally:
        if os.geteuid():
            for path in [runs, *runs.rglob("*")]:
                path.chmod(0o755)
        else:
            subprocess.run(["umount", runs], check=True)


def test_the_same_command_finds_it(erp, quick, run):
    for more in (["figures=false"], ["figures=true"]):  # there is no room for figures: the run is found all the same
        again = erp("train", *quick, *more)
        assert again.code == 0, again.err
        assert again.out.startswith("This run is finished already")
        assert results(run)["verdict"] in again.out
        assert Path(again.last) == run


def test_a_run_that_is_not_there_yet_is_refused_in_a_line(erp, quick, run):
    assert refused(erp("train", *quick, "router=knn"), "out = runs: ", "cannot be made", "give another out")


def test_it_is_tested_and_the_report_lies_elsewhere(erp, run):
    assert refused(erp("evaluate", f"run={run}"), "out = ", "cannot be made", "give another out")
    answer = erp("evaluate", f"run={run}", "out=mine")
    assert answer.code == 0, answer.err
    made = Path(answer.last)
    assert made.parent == Path("mine") / run.name / "evaluations"
    assert {"report.html", "report.md", "results.json", "predictions.parquet"} <= {path.name for path in made.iterdir()}
    assert results(made)["routing"]["router"] == results(run)["routing"]["router"]


def test_it_is_asked_compared_extended_and_its_split_is_kept(erp, quick, run):
    Path("in.jsonl").write_text('{"prompt": "one"}\n')
    long_frame(members=4).to_parquet("more.parquet")
    for command in (
        ["route", f"run={run}", "input=in.jsonl"],
        ["compare", str(run), "out=mine", "bootstrap.draws=200"],
        ["extend", f"run={run}", "data=table", "data.path=more.parquet", "out=mine"],
        ["train", *quick, f"split.from={run}", "router=knn", "out=mine"],
    ):
        answer = erp(*command)
        assert answer.code == 0, answer.err
