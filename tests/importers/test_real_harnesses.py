"""The evaluation harnesses themselves, run: what they wrote is imported, and means are those that they print.

They need packages that clash with ours, so they run in an environment of their own: `make test-harness`, or
ERP_HARNESS=<a python that has lm-eval and inspect-ai>.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from erp import import_table
from erp.errors import ErpError
from erp.table.read import read_table

pytestmark = [pytest.mark.slow, pytest.mark.harness]

RUNS = Path(__file__).parent / "harness"


def made(tool: str, folder: Path) -> Path:
    """What a tool wrote; skipped where there is no python that has it."""
    python = os.environ.get("ERP_HARNESS")
    if not python:
        pytest.skip("ERP_HARNESS names no python that has lm-eval and inspect-ai; make test-harness makes one")
    done = subprocess.run(
        [python, str(RUNS / f"{tool}_runs.py"), str(folder / "made")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "made"


@pytest.fixture(scope="module")
def lm_eval(tmp_path_factory):
    return made("lm_eval", tmp_path_factory.mktemp("lm_eval"))


@pytest.fixture(scope="module")
def inspect_ai(tmp_path_factory):
    return made("inspect", tmp_path_factory.mktemp("inspect"))


def means(table) -> dict[tuple[str, str], float]:
    """Mean of what was scored, by member and category."""
    found = defaultdict(list)
    categories = table.prompts["category"]
    for row in table.samples[["prompt", "member", "reward"]].dropna().itertuples(index=False):
        found[table.members[row.member], categories[row.prompt]].append(row.reward)
    return {key: sum(values) / len(values) for key, values in found.items()}


def imported(source, path, out, **options):
    return read_table(import_table(source, path, out=str(out), **options).folder)


@pytest.mark.parametrize("kept", ["first-number", "vote"])
@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_means_are_those_of_lm_eval(lm_eval, tmp_path, kept, metric):
    table = imported("lm_eval", lm_eval / "logs", tmp_path / "t", filter=kept, metric=metric)
    expected = {}
    for member in ("tiny/small", "tiny/large", "served/sevens"):
        latest = sorted((lm_eval / "logs" / member.replace("/", "__")).glob("results_*.json"))[-1]
        printed = json.loads(latest.read_text())["results"]
        expected[member, "local_sums"] = printed["local_sums"][f"exact_match,{kept}"]
        expected[member, "local_lengths"] = -printed["local_lengths"]["far,none"]
        if "local_colours" in printed:
            expected[member, "local_colours"] = printed["local_colours"][f"{metric},none"]
    assert means(table) == pytest.approx(expected, abs=1e-12)
    assert len(expected) == 8
    assert expected["served/sevens", "local_sums"] > 0
    assert "What is 0 plus 3?" in set(table.prompts["prompt"])
    assert not table.prompts["prompt"].str.contains("Answer the sums|assistant", regex=True).any()


def test_members_with_another_number_of_examples_are_refused(lm_eval, tmp_path):
    options = {"filter": "vote", "metric": "acc"}
    with pytest.raises(ErpError) as caught:
        import_table("lm_eval", lm_eval / "shots", out=str(tmp_path / "t"), **options)
    first, *others = str(caught.value).splitlines()
    assert "tiny/large was asked local_colours with examples 0, tiny/small with examples 1;" in first
    assert sum(line.startswith("prompt_id local_colours/") for line in others) == 3
    assert len(imported("lm_eval", lm_eval / "shots", tmp_path / "t", style="any", **options).members) == 2


@pytest.mark.parametrize("folder", ["logs", "old", "chunked"])
@pytest.mark.parametrize(
    ("scorer", "key", "figure"),
    [("match", None, "match|accuracy"), ("letters", None, "letters|accuracy"), ("manners", "short", "short|mean")],
)
def test_means_are_those_of_inspect(inspect_ai, tmp_path, folder, scorer, key, figure):
    options = {"scorer": [scorer, "match"] if scorer != "match" else "match"}
    table = imported("inspect", inspect_ai / folder, tmp_path / "t", **options, **({"key": key} if key else {}))
    found, printed = means(table), json.loads((inspect_ai / "figures.json").read_text())
    name, metric = figure.split("|")
    for (member, task), mean in found.items():
        shown = printed[f"{member}|{task}|{name}"][metric] if task == "echo" else None
        wanted = printed[f"{member}|{task}|match"]["accuracy"] if shown is None else shown
        assert mean == pytest.approx(wanted, abs=1e-12)
    assert len(found) == 6
    assert set(table.samples["sample"]) == {0, 1, 2, 3}


def test_a_log_in_json_says_what_an_archive_says(inspect_ai, tmp_path):
    table = imported("inspect", inspect_ai / "json", tmp_path / "t")
    printed = json.loads((inspect_ai / "figures.json").read_text())["mockllm/small|talk|match"]["accuracy"]
    assert means(table) == pytest.approx({("mockllm/small", "talk"): printed})
    assert max(table.prompts["prompt"].str.len()) > 10_000  # the log has it put aside


def test_a_run_told_to_score_nothing_is_refused(lm_eval, tmp_path):
    with pytest.raises(ErpError, match="has no metric"):
        import_table("lm_eval", lm_eval / "unscored", out=str(tmp_path / "t"))


def test_logs_that_inspect_did_not_finish(inspect_ai, tmp_path):
    for folder in ("cancelled", "stopped"):
        done = erp(
            "import", "source=inspect", f"path={inspect_ai / folder}", f"out={tmp_path / folder}", scorer="match"
        )
        assert done.returncode == 2
        assert "source.partial = false: 1 logs were not finished" in done.stderr
    assert len(imported("inspect", inspect_ai / "cancelled", tmp_path / "c", scorer="match", partial=True).samples) == 5
    for file in (inspect_ai / "cancelled" / "cut.eval", *(inspect_ai / "logs").iterdir()):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / file.name).write_bytes(file.read_bytes())
    both = import_table("inspect", tmp_path / "all", out=str(tmp_path / "both"), scorer="match")
    assert both.manifest["import"]["left_out"] == {"of an earlier run of the same task by the same member": 5}
    failed = import_table("inspect", inspect_ai / "failed", out=str(tmp_path / "f"))
    coverage = failed.manifest["import"]["coverage"]
    assert coverage == {"mockllm/small": {"failing": {"scored": 3, "missing": 0, "errors": 1}}}


def erp(*arguments, **source):
    chosen = [f"source.{name}={value}" for name, value in source.items()]
    return subprocess.run(
        [sys.executable, "-m", "erp", *arguments, *chosen], capture_output=True, text=True, check=False
    )


def test_from_logs_to_a_router(inspect_ai, lm_eval, tmp_path):
    for source, path, options in (
        ("inspect", inspect_ai / "logs", {"scorer": "match"}),
        ("lm_eval", lm_eval / "logs", {"filter": "vote", "metric": "acc"}),
    ):
        out = tmp_path / source
        done = erp("import", f"source={source}", f"path={path}", f"out={out}", **options)
        assert done.returncode == 0, done.stderr
        assert f"erp describe data=table data.path={out}" in done.stdout
        for command in (["describe"], ["train", "router=ridge", "backbone=hashing", f"out={tmp_path / source}-run"]):
            told = erp(*command, "data=table", f"data.path={out}")
            assert told.returncode == 0, told.stderr
