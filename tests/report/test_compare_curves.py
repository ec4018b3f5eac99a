"""The figure of curves, and its numbers."""

from pathlib import Path

import pytest
from PIL import Image

from erp.evaluation.comparison.mean_curves import curve_panels
from erp.report.comparisons.curves_figure import curve_numbers, draw_curves
from tests.contenders import placed

COLOURS = {"router_0": "#0072B2", "router_1": "#E69F00"}


def draw(results, path, case="plain", contenders=3, tables=1, splits=2):
    content = []
    for i in range(contenders * tables * splits):
        run = results(case, router_name=f"router_{i % contenders}", seed=i // contenders % splits)
        run["run"]["table"] = f"table-{i // (contenders * splits)}"
        content.append((Path(str(i)), run))
    panels = curve_panels(content, placed(content))
    draw_curves(panels, COLOURS, path)
    with Image.open(path) as image:
        assert image.width == 780
        return image.height, panels


@pytest.mark.parametrize("case", ["plain", "many", "flops", "nothing", "loses"])
def test_a_panel_is_drawn_whatever_the_pool(results, tmp_path, case):
    draw(results, tmp_path / "curves.png", case, splits=1)


def test_a_panel_for_each_table_up_to_the_most(results, tmp_path):
    one, _ = draw(results, tmp_path / "one.png", tables=1, contenders=1)
    two, _ = draw(results, tmp_path / "two.png", tables=2, contenders=1)
    assert two > 1.7 * one


@pytest.mark.slow
def test_too_many_panels_are_not_drawn(results, tmp_path):
    one, _ = draw(results, tmp_path / "one.png", tables=1, contenders=1)
    many, panels = draw(results, tmp_path / "many.png", tables=26, contenders=1, splits=1)
    assert len(panels) == 26
    assert many < 26 * one


def test_the_numbers_of_the_figure(results, tmp_path):
    _, panels = draw(results, tmp_path / "curves.png")
    (table,) = curve_numbers(panels, COLOURS)
    assert table.header == ["Cost (USD per thousand prompts)", "router_0", "router_1"], "the third has no colour"
    assert len(table.rows) == 21
    assert float(table.rows[-1][1]) == pytest.approx(panels[0].curves[0].gain[-1], rel=1e-3)
    assert float(table.rows[0][0]) == pytest.approx(0.2)
