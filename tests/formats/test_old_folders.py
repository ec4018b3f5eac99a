"""What earlier code left on disk opens, and says what it said then."""

import json
import shutil
from pathlib import Path

import pytest

from tests.formats.answers import compared, evaluated, extended, routed, runs, said

KEPT = {"first": "/tmp/erp-first"}  # folders beside this file, and where each was made
ADDED = {
    "format",
    "fell_back",
    "rewards_at_run_time",
    "cascades",
    "disagreement",
    "auc",
    "predicted_costs",
    "read_first",
}  # keys that later results have


@pytest.fixture(scope="module", params=KEPT)
def home(request, tmp_path_factory):
    """A copy to work in: a run's config names its table where it lies now, as a user would have it after a move."""
    home = tmp_path_factory.mktemp("old") / request.param
    shutil.copytree(Path(__file__).parent / request.param, home)
    for config in home.glob("runs/*/config.yaml"):
        config.write_text(config.read_text().replace(KEPT[request.param], str(home)))
    return home


@pytest.fixture(scope="module")
def told(home):
    return json.loads((home / "answers.json").read_text())


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def require_same(found, told, place=""):
    """Equal but for keys that were added; numbers but for how this machine rounds."""
    if isinstance(told, dict):
        assert list(told) == [key for key in found if key in told or key not in ADDED], place
        for key, value in told.items():
            require_same(found[key], value, f"{place}.{key}")
    elif isinstance(told, list):
        assert len(found) == len(told), place
        for i, value in enumerate(told):
            require_same(found[i], value, f"{place}[{i}]")
    elif isinstance(told, float):
        assert found == pytest.approx(told, rel=1e-5, abs=1e-7), place
    elif isinstance(told, str) and " " in told:
        assert isinstance(found, str), place  # a sentence may be put better
    else:
        assert found == told, place


def test_runs_and_a_sweep_compare_as_they_did(home, told):
    require_same(compared(home), told["compare"])


def test_every_run_routes_as_it_did_and_nothing_is_written(home, told):
    before = contents(home / "runs")
    for name, run in runs(home).items():
        require_same(routed(run, home), told["route"][name], name)
    assert contents(home / "runs") == before


def test_every_run_is_evaluated_and_reported_as_it_was(home, told):
    for name, run in runs(home).items():
        require_same(evaluated(run, home), told["evaluate"][name], name)
        assert "report.html" in said("report", f"run={run}", f"out={home / 'again'}", "figures=false")


def test_a_member_joins_as_it_did(home, told):
    require_same(extended(runs(home)["ridge-hashing"], home), told["extend"])
