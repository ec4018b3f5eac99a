"""The experiments' folders are whole, the README's table is theirs, and a result that moved is told."""

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

from erp.compose import options

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path for path in (ROOT / "experiments").glob("[0-9]*"))
NOT_SWEEPS = {"00_mini"}  # it describes a table


@pytest.fixture(scope="module")
def script():
    """`script(name)`: a file of experiments/, which is no package."""
    sys.path.insert(0, str(ROOT / "experiments"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "experiments"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_a_question_with_its_answer(folder):
    for name in ("README.md", "run.sh", "plot.py", "results.csv", "figure.png"):
        assert (folder / name).is_file(), name
    assert (folder / "run.sh").stat().st_mode & 0o111
    text = (folder / "README.md").read_text()
    assert "**Answer.**" in text
    assert "figure.png" in text
    assert len(pd.read_csv(folder / "results.csv"))
    if folder.name not in NOT_SWEEPS:
        assert folder.name.split("_", 1)[1] in options("experiment")
        assert f"]({folder.name})" in (ROOT / "experiments/README.md").read_text()


def test_the_readme_s_table_is_made_from_the_results(script):
    headlines = script("headlines")
    text = (ROOT / "README.md").read_text()
    assert text.partition(headlines.BEGIN)[2].partition(headlines.END)[0].strip() == headlines.table()


def test_the_table_is_put_between_its_marks(script, tmp_path):
    headlines = script("headlines")
    file = tmp_path / "page.md"
    file.write_text(f"before\n{headlines.BEGIN}\nold\n{headlines.END}\nafter\n")
    headlines.main(str(file))
    assert file.read_text() == f"before\n{headlines.BEGIN}\n{headlines.table()}\n{headlines.END}\nafter\n"


def test_a_difference_is_a_gain_whichever_contender_stands_first(script):
    headlines = script("headlines")
    pairs = pd.DataFrame({"first": ["a"], "second": ["b"], "difference": [0.2], "low": [-0.1], "high": [0.5]})
    assert headlines.interval(headlines.less(pairs, "a", "b"), "gain") == "+.200 (-.100 to .500)"
    assert headlines.interval(headlines.less(pairs, "b", "a"), "gain") == "-.200 (-.500 to .100)"
    assert headlines.interval(headlines.less(pairs.assign(low=0.1), "b", "a"), "gain") == "**-.200 (-.500 to -.100)**"


def test_results_that_moved_are_told(script):
    reproduce = script("reproduce")
    before = pd.DataFrame({"router": ["a", "b"], "gain": [0.1, None], "cost": [1e11, 2e11], "p_adjusted": [0.01, 1.0]})
    assert (
        reproduce.difference(before, before.assign(gain=[0.1049, None], cost=[1.019e11, 2e11], p_adjusted=1.0)) is None
    )
    assert "gain" in reproduce.difference(before, before.assign(gain=[0.11, None]))
    assert "gain" in reproduce.difference(before, before.assign(gain=[0.1, 0.0]))
    assert "cost" in reproduce.difference(before, before.assign(cost=[1.03e11, 2e11]))
    assert "router" in reproduce.difference(before, before.assign(router=["a", "c"]))
    assert "1 x 4 now" in reproduce.difference(before, before.head(1))
    assert reproduce.difference(before, before.iloc[::-1].reset_index(drop=True)) is None


def test_an_experiment_that_is_not_there_is_refused(script, capsys):
    assert script("reproduce").main(["99_nope"], []) == 2
    assert "99_nope: no such experiment; choose of 00_mini" in capsys.readouterr().err
