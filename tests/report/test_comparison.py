import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erp.evaluation.comparison.compare import compare_runs
from erp.evaluation.comparison.contenders import KnownRun, TestedRun, panel_key
from erp.evaluation.comparison.pairs import pair_up
from erp.evaluation.comparison.tables import runs_table
from erp.files import jsonable
from erp.report.comparisons.differences_figure import draw_differences
from erp.report.comparisons.markdown import contenders_to_markdown, pairs_to_markdown, runs_to_markdown
from erp.report.comparisons.write import as_markdown, write_comparison


@pytest.fixture
def runs(results):
    made = []
    for router, reward in (("knn", 0.63), ("ridge", 0.65), ("category_mean", 0.62)):
        for seed in (0, 1):
            name = f"{router}-minilm-{seed}"
            made.append(
                (Path("runs", name), results(router=reward + 0.001 * seed, router_name=router, seed=seed, name=name))
            )
    return made


def test_one_row_per_run_the_largest_gain_first(runs):
    frame = runs_table(runs)
    assert frame["router"].tolist() == ["ridge", "ridge", "knn", "knn", "category_mean", "category_mean"]
    assert frame["run"].iloc[0] == "ridge-minilm-1"
    first = frame.iloc[0]
    assert (first["members"], first["test_prompts"], first["split_seed"]) == (3, 1000, 1)
    assert first["gain"] == pytest.approx(0.041)
    assert first["gain_low"] == pytest.approx(0.021)
    assert first["gain_vs_category_mean"] == pytest.approx(0.031)
    assert first["headroom_recovered"] == pytest.approx(0.041 / 0.19)
    assert first["audc"] == 0.6


def test_missing_values_and_an_infinite_lambda(results):
    frame = runs_table([(Path("r"), results("nothing", category=None, lambda_=math.inf, kind="none"))])
    assert math.isnan(frame["headroom_recovered"].iloc[0])
    assert math.isinf(frame["lambda"].iloc[0])
    plain = json.loads(json.dumps(jsonable(frame.to_dict("records")), allow_nan=False))
    assert plain[0]["gain_vs_category_mean"] is None
    assert plain[0]["lambda"] is None
    assert "infinity" in runs_to_markdown(frame)


def test_markdown_says_once_what_all_runs_share(runs):
    text = runs_to_markdown(runs_table(runs))
    assert text.startswith("All runs: table scores.parquet; reward model skywork; members 3; backbone minilm; seed 0;")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 8
    assert "scores.parquet" not in rows[2]
    assert "+0.041 (+0.021 to +0.061)" in rows[2]
    assert "All runs" not in runs_to_markdown(runs_table(runs[:1]))


def check_picture(path):
    with Image.open(path) as image:
        assert image.width == 780
        return image.height


@pytest.fixture
def tested(runs):
    """What the runs earned prompt by prompt: 0 or 1, each router a little better than the next."""
    base = np.random.default_rng(0).uniform(size=400)
    more = {"ridge": 0.2, "knn": 0.17, "category_mean": 0.0}

    def make(name, run, **other):
        reward = (base + more[run["run"]["router"]] > 0.5).astype(float)
        ids = np.array([f"p{i}" for i in range(len(base))], dtype=object)
        about = {"router": run["run"]["router"], "backbone": "minilm", "settings": {}} | other
        return TestedRun(
            folder=name, panel=panel_key(run), split=str(run["run"]["split_seed"]), split_seed=run["run"]["split_seed"],
            seed=0, ids=ids, groups=ids, observed=np.stack([base, reward], axis=1)[:, :1], reward=reward, cost=base,
            single=(base > 0.5) * 1.0, **about,
        )  # fmt: skip

    return [make(name, run) for name, run in runs]


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_contenders_come_before_their_differences(tested):
    pairs = pair_up(tested, draws=500)
    contenders, differences = contenders_to_markdown(pairs), pairs_to_markdown(pairs)
    text = contenders + differences
    assert [line.split("|")[1].strip() for line in lines_of(contenders, "| ")[2:]] == ["ridge", "knn", "category_mean"]
    ridge = lines_of(contenders, "| ridge")[0]
    gain = np.mean([run.gain.mean() for run in tested if run.router == "ridge"])
    assert f"| **+{gain:.2f} (" in ridge, "the best is bold"
    assert "**" not in lines_of(contenders, "| category_mean")[0], "it differs significantly from the best"
    assert "Bold: the best of the table, and every contender that does not differ significantly from it" in contenders
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines_of(differences, "| ")[2:]]
    assert [(row[0], row[1]) for row in rows] == [
        ("ridge", "knn"), ("ridge", "category_mean"), ("knn", "category_mean"),
        ("ridge", "best single"), ("knn", "best single"), ("category_mean", "best single"),
    ]  # fmt: skip
    assert rows[1][-1] == "better"
    assert rows[5][3:] == ["0 (0 to 0)", "1", "not significant"]
    for words in (
        "standard deviation",
        "corrected for all differences",
        "a single seed on a split",
        "at most 0.05",
        "500 draws",
    ):
        assert words in text
    assert "###" not in text, "one panel needs no name"
    assert "McNemar p" not in text, "prompts occur on two splits"


def test_mcnemar_stands_in_its_own_column_where_there_is_one(tested):
    text = pairs_to_markdown(pair_up([run for run in tested if run.split_seed == 0], draws=500))
    (header,) = [line for line in text.splitlines() if "less second" in line]
    assert [cell.strip() for cell in header.split("|")[-4:-1]] == ["p", "McNemar p", "verdict"]


def test_panels_and_names_that_would_break_a_table(tested, results):
    odd = results()
    odd["run"]["table"] = "a|b\nc"
    other = TestedRun(**{**vars(tested[0]), "panel": panel_key(odd), "router": "x|y"})
    pairs = pair_up([*tested, other], draws=500)
    text = contenders_to_markdown(pairs) + pairs_to_markdown(pairs)
    assert text.count("### a\\|b c, skywork, 3 members, cost: USD per thousand prompts") == 2
    assert lines_of(text, "| x\\|y")


def test_many_contenders_say_what_they_are_compared_with(tested):
    many = [
        TestedRun(**{**vars(tested[0]), "router": f"r{i}", "reward": tested[0].reward + 0.01 * i}) for i in range(9)
    ]
    assert "More than 8 contenders" in pairs_to_markdown(pair_up(many, draws=500))
    assert "More than 8 contenders" not in pairs_to_markdown(pair_up(many[:8], draws=500))


def test_differences_are_drawn_a_strip_per_panel(tested, results, tmp_path):
    one = check_picture(draw_differences(pair_up(tested, draws=500), {"ridge": "#0072B2"}, tmp_path / "one.png"))
    other = results()
    other["run"]["table"] = "other"
    elsewhere = [TestedRun(**{**vars(run), "panel": panel_key(other)}) for run in tested]
    two = check_picture(draw_differences(pair_up([*tested, *elsewhere], draws=500), {}, tmp_path / "two.png"))
    assert two > 1.5 * one
    alone = [TestedRun(**{**vars(tested[0]), "ids": tested[0].ids[:1], "groups": tested[0].groups[:1]} | {
        name: getattr(tested[0], name)[:1] for name in ("observed", "reward", "cost", "single")})]  # fmt: skip
    check_picture(draw_differences(pair_up(alone), {}, tmp_path / "one-prompt.png"))


def test_the_page_says_first_what_came_out(tested, runs):
    text = as_markdown(compare_runs(runs, pair_up(tested, draws=2000)), {})
    lead = text.split("\n\n")[1]
    gain = np.mean([run.gain.mean() for run in tested if run.router == "ridge"])
    assert lead.startswith(f"On scores.parquet, scored by skywork, 3 members: ridge gains +{gain:.2f} (")
    assert lead.endswith("which is more than chance. It is better than each of the others.")
    twin = TestedRun(**{**vars(tested[2]), "router": "twin", "folder": Path("runs/twin")})
    content = [*runs, (Path("runs/twin"), runs[0][1])]
    lead = as_markdown(compare_runs(content, pair_up([*tested, twin], draws=2000)), {}).split("\n\n")[1]
    assert lead.endswith(" It has the largest gain of 4, and does not differ significantly from twin.")


def test_figures_of_reward_models_and_pages_that_ask_for_nothing(tested, runs, results, tmp_path):
    """Reward models whose names are no file names, or differ in their case alone."""
    content, known = list(runs), list(tested)
    for name in ("a/b", "A b", "../x", "ä"):
        run = results(name=name)
        run["run"]["reward_model"] = name
        content.append((Path("runs", f"of {name}".replace("/", "-")), run))
        known.append(KnownRun(content[-1][0], panel_key(run), "ridge", "minilm", {}, "1", 1, 0))
    (tmp_path / "curves.png").touch()
    write_comparison(compare_runs(content, pair_up(known, draws=500)), tmp_path)
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names == {
        "differences", "curves-skywork", "curves-A-b", "curves-a-b-2", "curves-x", "curves-reward",
    }, "and what an earlier comparison drew is gone"  # fmt: skip
    assert names == {path.stem for path in tmp_path.glob("*.svg")}
    text, page = ((tmp_path / f"comparison.{end}").read_text(encoding="utf-8") for end in ("md", "html"))
    for name in names:
        assert text.count(f"]({name}.png)") == 1
    assert page.count("data:image/svg+xml;base64,") == len(names)
    assert page.count("<figure>") == len(names)
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert page.count("<summary>The numbers of this figure</summary>") == len(names) - 1
