import json
import math

import pytest
from PIL import Image

from erp.report.comparison import compare, draw_comparison, to_json, to_markdown


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
