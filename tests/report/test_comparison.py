import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erp.report.comparison import (
    compare,
    draw_comparison,
    draw_differences,
    pairs_to_markdown,
    panel_key,
    to_json,
    to_markdown,
)
from erp.report.pairs import TestedRun, pair_up


@pytest.fixture
def runs(results):
    made = []
    for router, reward in (("knn", 0.63), ("ridge", 0.65), ("category_mean", 0.62)):
        for seed in (0, 1):
            name = f"{router}-minilm-{seed}"
            made.append(
                (f"runs/{name}", results(router=reward + 0.001 * seed, router_name=router, seed=seed, name=name))
            )
    return made


def test_one_row_per_run_the_largest_gain_first(runs):
    frame = compare(runs)
    assert frame["router"].tolist() == ["ridge", "ridge", "knn", "knn", "category_mean", "category_mean"]
    assert frame["run"].iloc[0] == "ridge-minilm-1"
    first = frame.iloc[0]
    assert (first["members"], first["test_prompts"], first["split_seed"]) == (3, 1000, 1)
    assert first["gain"] == pytest.approx(0.041)
    assert first["gain_low"] == pytest.approx(0.021)
    assert first["gain_vs_category_mean"] == pytest.approx(0.031)
    assert first["headroom_recovered"] == pytest.approx(0.041 / 0.19)
    assert first["audc"] == 0.6


def test_tables_and_reward_models_stay_together(results):
    low, high = results(router=0.62), results(router=0.70)
    high["run"]["table"] = "zzz"
    frame = compare([("b", high), ("a", low)])
    assert frame["table"].tolist() == ["scores.parquet", "zzz"], "a gain on one table says nothing about another"


def test_missing_values_and_an_infinite_lambda(results):
    frame = compare([("r", results("nothing", category=None, lambda_=math.inf, kind="none"))])
    assert math.isnan(frame["headroom_recovered"].iloc[0])
    assert math.isinf(frame["lambda"].iloc[0])
    plain = json.loads(json.dumps(to_json(frame), allow_nan=False))
    assert plain[0]["gain_vs_category_mean"] is None
    assert plain[0]["lambda"] is None
    assert "infinity" in to_markdown(frame)


def test_markdown_says_once_what_all_runs_share(runs):
    text = to_markdown(compare(runs))
    assert text.startswith("All runs: table scores.parquet; reward model skywork; members 3; backbone minilm; seed 0;")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 8
    assert "scores.parquet" not in rows[2]
    assert "+0.04100 (+0.02100 to +0.06100)" in rows[2]
    assert "All runs" not in to_markdown(compare(runs[:1]))


def check_picture(path):
    with Image.open(path) as image:
        assert image.width == 780
        return image.height


def test_curves_in_one_panel_and_in_several(runs, results, tmp_path):
    one = check_picture(draw_comparison(runs, tmp_path / "one.png"))
    several = [
        *runs,
        ("other", results("many")),
        ("free", results("free")),
        ("free2", results("free", router_name="knn")),
    ]
    assert check_picture(draw_comparison(several, tmp_path / "several.png")) > 1.5 * one


def test_backbones_are_told_apart_and_too_many_panels_are_named(results, tmp_path):
    made = []
    for i in range(26):
        run = results("free")
        run["run"] |= {"table": f"table-{i}", "backbone": f"b{i % 2}"}
        made.append((f"run-{i}", run))
    check_picture(draw_comparison(made, tmp_path / "many.png"))


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
            folder=Path(name), panel=panel_key(run), split_seed=run["run"]["split_seed"], seed=0, ids=ids, groups=ids,
            observed=np.stack([base, reward], axis=1)[:, :1], reward=reward, cost=base, single=(base > 0.5) * 1.0,
            **about,
        )  # fmt: skip

    return [make(name, run) for name, run in runs]


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_contenders_come_before_their_differences(tested):
    pairs = pair_up(tested, draws=500)
    text = pairs_to_markdown(pairs)
    contenders, differences = text.split("## Differences")
    assert [line.split("|")[1].strip() for line in lines_of(contenders, "| ")[2:]] == ["ridge", "knn", "category_mean"]
    ridge = lines_of(contenders, "| ridge")[0]
    gain = np.mean([run.gain.mean() for run in tested if run.router == "ridge"])
    assert f"| +{gain:.4f} (" in ridge
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines_of(differences, "| ")[2:]]
    assert [(row[0], row[1]) for row in rows] == [
        ("ridge", "knn"), ("ridge", "category_mean"), ("knn", "category_mean"),
        ("ridge", "best single"), ("knn", "best single"), ("category_mean", "best single"),
    ]  # fmt: skip
    assert rows[1][-1] == "better"
    assert rows[5][3:] == ["0 (0 to 0)", "1", "cannot be told"]
    for words in ("standard deviation", "Holm-corrected", "a single seed on a split", "at most 0.05", "500 draws"):
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
    text = pairs_to_markdown(pair_up([*tested, other], draws=500))
    assert text.count("### a\\|b c, skywork, 3 members, cost: USD per prompt") == 2
    assert lines_of(text, "| x\\|y")


def test_many_contenders_say_what_they_are_compared_with(tested):
    many = [
        TestedRun(**{**vars(tested[0]), "router": f"r{i}", "reward": tested[0].reward + 0.01 * i}) for i in range(9)
    ]
    assert "More than 8 contenders" in pairs_to_markdown(pair_up(many, draws=500))
    assert "More than 8 contenders" not in pairs_to_markdown(pair_up(many[:8], draws=500))


def test_differences_are_drawn_a_strip_per_panel(tested, runs, results, tmp_path):
    one = check_picture(draw_differences(pair_up(tested, draws=500), runs, tmp_path / "one.png"))
    other = results()
    other["run"]["table"] = "other"
    elsewhere = [TestedRun(**{**vars(run), "panel": panel_key(other)}) for run in tested]
    two = check_picture(draw_differences(pair_up([*tested, *elsewhere], draws=500), runs, tmp_path / "two.png"))
    assert two > 1.5 * one
    alone = [TestedRun(**{**vars(tested[0]), "ids": tested[0].ids[:1], "groups": tested[0].groups[:1]} | {
        name: getattr(tested[0], name)[:1] for name in ("observed", "reward", "cost", "single")})]  # fmt: skip
    check_picture(draw_differences(pair_up(alone), runs, tmp_path / "one-prompt.png"))
