import numpy as np
import pytest
from PIL import Image

from erp import shared
from erp.errors import shortened
from erp.evaluation.bins import binned
from erp.report.curves import along, frontier, y_limits
from erp.report.facts import predicted_members, short_names, shown_unit
from erp.report.figures import draw_figures
from erp.report.gains import gain_limits, gain_rows
from erp.report.style import Label, canvas, freeze, place_labels, vector_figures
from erp.results import whole

ALL = ("plain", "cheaper", "free", "nothing", "single_sample", "loses", "flops", "many")


def check_pictures(paths):
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 780, "twice the width of a phone"
            assert image.height > 100
            assert np.asarray(image.convert("L")).std() > 5, "not empty"


@pytest.mark.parametrize("case", ALL)
def test_every_figure_is_drawn_without_a_warning(case, results, bins, tmp_path):
    run = results(case)
    paths = draw_figures(whole(run), bins(run), tmp_path / "figures")
    known = [] if run["noise"]["reason"] else ["variance_shares.png"]  # at K = 1 nothing is to be drawn
    assert [path.name for path in paths] == [
        "reward_cost.png", "predicted_vs_observed.png", "route_shares.png", *known
    ]  # fmt: skip
    check_pictures(paths)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)


def test_ordinal_scores_are_not_drawn_as_predictions(results, bins, tmp_path):
    run = results("ordinal")
    assert [path.stem for path in draw_figures(whole(run), bins(run), tmp_path)] == [
        "reward_cost", "route_shares", "variance_shares"
    ]  # fmt: skip


def test_jobs_of_a_sweep_draw_the_variance_of_a_table_once(results, bins, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("erp.report.variance.canvas", lambda *of: drawn.append(of) or canvas(*of))

    def figures(folder, run):
        with vector_figures():
            draw_figures(whole(run), bins(run), tmp_path / folder)
        return [(tmp_path / folder / f"variance_shares.{kind}").read_bytes() for kind in ("png", "svg")]

    one, other = results("plain"), results("plain")
    other["noise"]["components"]["shares"] |= {"prompt": 0.2, "member": 0.2, "interaction": 0.2, "error": 0.4}
    alone = figures("alone", one), figures("other alone", other)
    drawn.clear()
    shared.begin()
    try:
        assert (figures("first", one), figures("second", one), figures("other", other)) == (alone[0], *alone)
    finally:
        shared.end()
    assert alone[0] != alone[1]
    assert len(drawn) == 2


def test_hostile_names_are_drawn_as_they_are(results, bins, tmp_path):
    run = results(members=("a$b^$_{", "模型|一\nzwei", "x" * 200))
    check_pictures(draw_figures(whole(run), bins(run), tmp_path))


def test_missing_values_are_left_out_of_the_picture(results, predictions, tmp_path):
    run = results(category=None)
    for row in (*run["routing"]["members"].values(), run["routing"]["router"], run["routing"]["oracle"]):
        row["gain_vs_best_single"] |= {"low": None, "high": None}
    run["interval"] |= {"low": [None] * len(run["interval"]["cost"]), "high": [None] * len(run["interval"]["cost"])}
    run["prediction"]["members"]["tiny-1b"]["r2"] = None
    frame = predictions(run)
    frame.loc[frame["model"] == "tiny-1b", "observed"] = np.nan
    check_pictures(draw_figures(whole(run), binned(run, frame), tmp_path))


def test_a_pool_of_one_and_a_router_of_one_policy(results, bins, tmp_path):
    alone = results(members=("only",), rewards=(0.5,), costs=(0.1,), router=0.5, category=None, oracle=0.5, half=0.0)
    check_pictures(draw_figures(whole(alone), bins(alone), tmp_path / "alone"))
    constant = results(category=None)
    for curve in (constant["curves"]["router"], constant["interval"], constant["shares"]):
        curve |= {key: values[:1] for key, values in curve.items() if isinstance(values, list)}
    members = constant["shares"]["members"]
    constant["shares"]["members"] = {name: values[:1] for name, values in members.items()}
    check_pictures(draw_figures(whole(constant), bins(constant), tmp_path / "constant"))


def test_drawing_leaves_the_users_settings_alone(results, bins, tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    run = results()
    draw_figures(whole(run), bins(run), tmp_path)
    assert dict(mpl.rcParams) == before


def test_the_axis_keeps_router_and_best_single_apart_whatever_the_oracle_does():
    core = np.array([1.0, 2.0])
    low, high = y_limits(core, np.array([50.0, -50.0]))
    assert low < 1.0
    assert high > 2.0
    assert 1.0 / (high - low) > 0.45
    assert y_limits(core, np.array([2.4]))[1] > 2.4, "what fits is shown"
    low, high = y_limits(np.array([0.5]), np.array([np.nan]))
    assert low < 0.5 < high


def test_gain_axis_shows_the_core_whole_and_marks_the_rest(results):
    rows = gain_rows(whole(results("single_sample")), members=2)
    low, high = gain_limits(rows)
    router = next(row for row in rows if row.name == "ridge")
    assert low < 0 < router.low < router.high < high < rows[-1].mean
    assert [row.name for row in rows] == ["random", "tiny-1b", "small-7b", "best single", "ridge", "oracle"]


def test_labels_keep_off_each_other(tmp_path):
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.51, 0.5], [0.49, 0.51], [1.0, 0.5], [0.0, 0.0]])
    with canvas(tmp_path / "labels.png", 3) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        freeze(figure)
        labels = [Label(f"member number {i}", points[[i]]) for i in range(len(points))]
        place_labels(figure, axes, labels, [], points)
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == len(points)
        for i, box in enumerate(boxes):
            assert box.x1 <= figure.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    assert (tmp_path / "labels.png").stat().st_size > 0


def test_optional_labels_give_way(tmp_path):
    with canvas(tmp_path / "labels.png", 2) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        freeze(figure)
        many = [Label("a label as wide as this one", np.array([[0.5, 0.5]]), optional=True) for _ in range(60)]
        place_labels(figure, axes, many, [], np.zeros((0, 2)))
        assert 0 < len(axes.texts) < 60


def test_frontier_has_no_point_that_a_cheaper_one_outdoes():
    dots = np.array([[1.0, 1.0], [2.0, 3.0], [2.0, 2.5], [3.0, 2.9], [4.0, 5.0], [4.0, 5.0]])
    assert frontier(dots) == [4, 1, 0]
    line = np.stack([np.arange(40.0), np.arange(40.0)], axis=1)
    kept = frontier(line)
    assert len(kept) == 6
    assert {0, 39} <= set(kept)


def test_curves_are_named_at_their_dear_end():
    points = np.array([[4.0, 9.0], [3.0, 8.0], [1.0, 2.0]])
    assert along(points).tolist() == [[4.0, 9.0], [3.0, 8.0]]
    assert along(points[:1]).tolist() == [[4.0, 9.0]]


@pytest.mark.parametrize(
    ("base", "factor", "shown"),
    [
        ("USD per prompt", 1e3, "USD per thousand prompts"),
        ("FLOPs per prompt", 1e-12, "trillion FLOPs per prompt"),
        ("tokens per prompt", 1.0, "tokens per prompt"),
        ("none", 1.0, "none"),
        ("seconds", 1.0, "seconds"),
    ],
)
def test_a_unit_is_shown_in_one_size_everywhere(base, factor, shown):
    assert shown_unit(base) == (pytest.approx(factor), shown)


def test_long_names_keep_both_ends(results):
    assert shortened("meta-llama/Llama-3.1-8B-Instruct", 15) == "meta-ll…nstruct"
    assert shortened("short", 15) == "short"
    run = results(members=("a/same", "b/same", "c/other"))
    assert short_names(whole(run), 20)["a/same"] == "a/same", "the vendor is needed here"
    twins = results(members=("llama-70b-instruct", "llama-08b-instruct", "c"))
    assert short_names(whole(twins), 12)["llama-70b-instruct"] == "llama-70b-instruct", "a cut would make them one"
    assert short_names(whole(results(members=("a/x", "b/y", "c/z"))), 20)["a/x"] == "x"


def test_the_members_chosen_most_are_drawn(results):
    shown, left_out = predicted_members(whole(results("many")))
    assert (len(shown), len(left_out)) == (9, 46)
    shares = {name: row["share"] for name, row in results("many")["routing"]["members"].items()}
    assert min(shares[name] for name in shown) >= max(shares[name] for name in left_out)
