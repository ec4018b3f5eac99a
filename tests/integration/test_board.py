"""The board of all routers: its statistics by hand, its numbers against the runs' own, its pages against its tables."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "experiments/10_board"


@pytest.fixture(scope="module")
def script():
    """`script(name)`: a file of the board's folder, which is no package."""
    sys.path.insert(0, str(BOARD))
    yield importlib.import_module
    sys.path.remove(str(BOARD))


def test_holm_by_hand(script):
    holm = script("standing").holm
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.005, 0.5]) == pytest.approx([1.0, 0.015, 1.0])
    assert list(holm([])) == []


def test_critical_differences_are_those_of_demsar_s_example(script):
    """Four classifiers on fourteen data sets, JMLR 7 (2006), section 3.2.2 and its table of critical values."""
    critical = script("standing").critical_difference
    assert critical(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=1e-3)
    assert critical(10, 30) == pytest.approx(3.164 * np.sqrt(10 * 11 / (6 * 30)), rel=1e-3)


def test_a_run_s_gain_area_and_saving_are_its_own(script, run):
    board, reading = script("results"), script("reading")
    said = json.loads((run / "results.json").read_text())
    known = reading.read_run(reading.RunFolder(run))
    panel = board.Panel([known])
    gain = said["routing"]["router"]["gain_vs_best_single"]
    (found,) = panel.intervals([[(known, known.reward - known.alone)]])
    assert found.mean == pytest.approx(gain["mean"])
    assert (found.low, found.high) == pytest.approx((gain["low"], gain["high"]), abs=0.03)  # other draws
    own, less = panel.area([(known, *known.earned(known.curve))])
    assert own.mean == pytest.approx(said["audc"]["router"], rel=1e-3)
    assert own.mean - less.mean == pytest.approx(said["audc"]["best_single"])
    assert own.low < own.mean < own.high
    rows = list(board.rows(panel))
    assert [row["router"] for row in rows] == ["oracle", "random", "best single", known.router]
    assert rows[0]["gain"] == pytest.approx(said["routing"]["oracle"]["gain_vs_best_single"]["mean"])


def test_ranks_over_two_tables(script, run):
    """Routers that are the first with other choices, so that who is better is known."""
    board, reading, standing = (script(name) for name in ("results", "reading", "standing"))
    known = reading.read_run(reading.RunFolder(run))
    best = known.observed + 1e-9 * known.predicted
    panels, gains = [], []
    for table in ("one", "two"):
        scores = {"oracle like": best, "worst": -best, "category_mean": known.predicted}
        if table == "two":
            scores["only here"] = np.roll(known.predicted, 1, axis=0)
        runs = []
        for name, predicted in scores.items():
            parts = {**vars(known), "panel": (table, "r"), "router": name, "predicted": predicted}
            parts.pop("reward", None)
            runs.append(type(known)(**parts))
        panels.append(board.Panel(runs))
        gains.append([(one.reward - one.alone).mean() for one in runs[:3]])
    frame = standing.over_tables(panels, {("one", "r"): 1.0, ("two", "r"): 2.0}).set_index("router")
    expected = np.mean([rankdata(-np.array([*own, 0.0])) for own in gains], axis=0)  # the best single's too
    assert list(frame.loc[["oracle like", "worst", "category_mean", "best single"], "rank"]) == pytest.approx(
        list(expected)
    )
    assert frame.loc["oracle like", "share"] == pytest.approx(gains[0][0] * 0.75)
    assert np.isnan(frame.loc["only here", "rank"])
    assert frame["tables"].to_dict() == {"only here": 1} | dict.fromkeys([*list(scores)[:3], "best single"], 2)
    # No draw lies on the other side, and there are four to correct for.
    assert frame.loc["worst", "p_given"] == pytest.approx(4 * 2 / 10_001, rel=0.05)


@pytest.mark.parametrize("page", ["experiments/10_board/README.md", "docs/which-router.md"])
def test_the_pages_hold_the_tables(script, page, tmp_path):
    copy = tmp_path / "page.md"
    copy.write_text((ROOT / page).read_text())
    script("page").main(str(copy))
    assert copy.read_text() == (ROOT / page).read_text()
    assert "<!-- board: " in copy.read_text()


def test_every_cell_of_the_board_has_an_interval_or_a_reason():
    board = pd.read_csv(BOARD / "board.csv")
    served = board[board["gain"].notna()]
    assert board.loc[board["gain"].isna(), "why_not"].notna().all()
    for name in ("gain", "audc", "saving"):
        known = served[served[name].notna()]
        assert (known[f"{name}_low"] <= known[name]).all()
        assert (known[name] <= known[f"{name}_high"]).all()
    asked = {
        (*key, name)
        for key in {tuple(k) for k in board[["table", "reward_model"]].values}
        for name in set(board["router"])
    }
    assert {tuple(row) for row in board[["table", "reward_model", "router"]].values} == asked
