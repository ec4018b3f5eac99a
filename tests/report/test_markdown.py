import math

import pytest

from erp.report.markdown import render
from erp.report.summary import plain_summary
from erp.report.text import gain_text, percents, significant, spread_text, table
from erp.results import Interval, Results, whole

FIGURES = ["figures/reward_cost.png", "figures/predicted_vs_observed.png", "figures/route_shares.png"]


def cells(text, start):
    """The cells of the table row that begins with ``start``."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_summary_in_plain_words(results):
    lines = plain_summary(whole(results())).splitlines()
    assert lines == [
        "Better than the best constant at equal cost: yes. Reward +0.040 (95% CI 0.020 to 0.060) over always "
        "choosing large-70b.",
        "Against the best single model (large-70b): reward +0.040 (95% CI 0.020 to 0.060), better; cost 4.092 instead "
        "of 6.000 USD per thousand prompts, 32% less.",
        "Against the best model of each prompt's category (category mean): reward +0.030 (95% CI 0.010 to 0.050), "
        "better; cost 4.092 instead of 5.400 USD per thousand prompts, 24% less.",
        "Headroom: choosing the best model for every prompt in hindsight (the oracle) would gain 0.1900 over the best "
        "single model; ridge gains 21% (95% CI 11% to 32%) of that.",
    ]


def test_summary_owns_up_to_a_loss(results):
    text = plain_summary(whole(results("loses")))
    assert "ridge gains -32% (95% CI -42% to -21%) of that" in text
    assert "Against the best single model (large-70b): reward -0.060 (95% CI -0.080 to -0.040), worse;" in text


def test_summary_claims_nothing_where_the_interval_holds_zero(results):
    text = plain_summary(whole(results("undecided")))
    assert "ridge gains 3% (95% CI -8% to 13%) of that" in text
    single = "Against the best single model (large-70b): "
    assert f"{single}reward +0.005 (95% CI -0.015 to 0.025), no significant difference;" in text


def test_summary_says_when_there_is_nothing_to_route(results):
    assert "\nThere is nothing to route here: on no test prompt" in plain_summary(whole(results("nothing")))
    one = results(members=("only",), rewards=(0.5,), costs=(0.1,), router=0.5, category=None, oracle=0.5)
    assert "\nThere is nothing to route here: the pool has one member." in plain_summary(whole(one))
    unsure = results("nothing")
    unsure["routing"]["oracle"]["gain_vs_best_single"] = {"mean": 0.01, "low": -0.01, "high": 0.03}
    assert (
        "the oracle's gain over the best single model (large-70b) is +0.010 (95% CI -0.010 to 0.030), no significant "
        "difference." in plain_summary(whole(unsure))
    )
    unsure["routing"]["oracle"]["gain_vs_best_single"] = {"mean": 0.01, "low": None, "high": None}
    assert "How much there is to route is not known" in plain_summary(whole(unsure))


def test_summary_of_a_router_that_is_the_best_single(results):
    text = plain_summary(whole(results(router=0.61, category=None)))
    assert "ridge gains none of that" in text
    assert "reward 0 (exactly the same)" in text


def test_summary_at_the_policys_lambda_and_without_costs(results):
    assert (
        "Its policy (lambda = 10 per USD per thousand prompts) earns 0.6481 at 3.300 USD per thousand prompts"
        in plain_summary(whole(results("cheaper")))
    )
    assert "lambda = infinity" in plain_summary(whole(results("flops")))
    free = plain_summary(whole(results("free")))
    assert "; cost" not in free
    assert "Its policy" not in free
    assert free.startswith("Better than the best constant: yes.")  # there is no cost to be equal


def test_summary_does_not_compare_category_mean_with_itself(results):
    assert "category mean" not in plain_summary(whole(results(router_name="category_mean")))


def test_summary_does_not_read_the_verdict_it_becomes(results):
    run = results()
    del run["verdict"]
    assert plain_summary(Results.of(run))


def test_report_leads_with_the_verdict_and_has_the_rows(results):
    run = results()
    text = render(whole(run), FIGURES)
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == "# ridge on scores.parquet"
    assert lines[1] == plain_summary(whole(run)).splitlines()[0]
    order = ["(figures/reward_cost.png)", "## Against the best constant", "## At lambda = 0", "## Members",
             "(figures/route_shares.png)", "## Along the curve", "## Predicted", "(figures/predicted_vs",
             "## When it pays", "## How much is noise", "## Audits", "## Data", "## How this was measured",
             "erp train config="]  # fmt: skip
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert cells(text, "**ridge**") == [
        "**ridge** (the router)", "0.6500", "4.092", "+0.040 (+0.020 to +0.060)", "21% (11% to 32%)", "-"
    ]  # fmt: skip
    assert cells(text, "best single (large")[1:] == ["0.6100", "6.000", "-", "0%", "-"]
    assert cells(text, "oracle")[1:] == ["0.8000", "3.274", "+0.190 (+0.170 to +0.210)", "100%", "-"]
    assert cells(text, "the run's policy, lambda = 0")[1] == "0.6500"
    assert cells(text, "small-7b")[1:3] == ["0.5500", "1.000"]
    members = [
        line.split("|")[1].strip() for line in text.splitlines() if line.startswith(("| large", "| small", "| tiny"))
    ]
    assert members == ["large-70b", "small-7b", "tiny-1b"] * 2, "the best first, in both tables"
    assert cells(text, "lambda = 0")[3:] == ["large-70b", "0.6100", "+0.040 (+0.020 to +0.060)", "yes"]
    assert cells(text, "cascade (tiny-1b -> large-70b)")[1:3] == ["0.6600", "4.092"]
    assert cells(text, "sample all, keep the favourite")[2] == "7.200"
    for fact in ("10 of 44,275 cells are missing", "prompt tokens are estimated", "7 test prompts lack", "1,000 test"):
        assert fact in text
    assert "erp train config=<run folder>/config.yaml" in text
    assert "`ridge-minilm-0123456789`" in text


def test_report_of_one_sample_per_cell_identifies_no_ceiling(results):
    text = render(whole(results("single_sample")), FIGURES)
    assert cells(text.split("## Predicted rewards")[1], "large-70b")[2] == "not identifiable at K=1"
    assert "By how much is not identifiable at K=1" in text
    assert "not identifiable" not in render(whole(results()), FIGURES)


def test_report_of_ordinal_scores_has_no_r2(results):
    text = render(whole(results("ordinal")), FIGURES[::2])
    assert "they are not rewards" in text
    assert "predicted_vs_observed" not in text


def test_report_without_headroom_costs_or_categories(results):
    text = render(whole(results("nothing")), FIGURES)
    assert "No share of the headroom is given: There is nothing to route here" in text
    free = render(whole(results("free", category=None)), FIGURES)
    assert "every member is free" in free
    assert "category mean" not in free
    assert "Area under the curve" not in free
    assert "nan" not in free.lower().replace("minilm", "")


def test_report_names_the_members_that_are_not_drawn(results):
    text = render(whole(results("many")), FIGURES)
    line = next(line for line in text.splitlines() if line.startswith("Members not drawn"))
    assert line.count("vendor-") == 46


def test_names_cannot_break_a_table(results):
    run = results(members=("a|b", "two\nlines", "c"))
    text = render(whole(run), FIGURES)
    assert "a\\|b" in text
    assert "two lines" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"), (12.3456, "12.35"), (1234.5678, "1235"), (12345.6, "12,346"), (1e12, "1.000e+12"),
        (0.0001234, "0.0001234"), (0.00001234, "1.234e-05"), (-0.61, "-0.6100"), (0, "0"), (None, "-"),
        (math.nan, "-"), (math.inf, "infinity"),
    ],
)  # fmt: skip
def test_four_significant_digits(value, text):
    assert significant(value) == text


def test_an_interval_beside_zero_never_looks_as_if_it_held_it():
    assert spread_text(0.054, 0.002, 0.106) == "0.054 (0.002 to 0.106)"
    assert spread_text(0.12, 0.10, 0.14) == "0.120 (0.100 to 0.140)"
    assert spread_text(12.0, 8.0, 16.0) == "12 (8 to 16)"
    assert spread_text(0.0001, -0.014, 0.016) == "0.000 (-0.014 to 0.016)"
    assert spread_text(0.0, 0.0, 0.0) == "0 (0 to 0)"
    assert spread_text(0.61973, 0.6195, 0.6199) == "0.620 (0.620 to 0.620)", "three digits at most"
    assert spread_text(12345.0, 11900.0, 12800.0) == "12,300 (11,900 to 12,800)"
    assert spread_text(3.1e-7, 1.2e-7, 5.2e-7) == "0.00000031 (0.00000012 to 0.00000052)"
    assert spread_text(0.0450, 0.0191, 0.0709, signed=True) == "+0.045 (+0.019 to +0.071)"
    assert percents(0.003, 0.2) == "0.3% to 20.0%"
    assert percents(0.41) == "41%"
    assert gain_text(Interval(mean=0.5, low=None, high=None)) == "+0.500"
    assert gain_text(Interval(mean=None, low=None, high=None)) == "-"


def test_table():
    assert table(["a", "b"], [["x", "1"], ["long", "22"]]) == (
        "| a    |   b |\n| :--- | --: |\n| x    |   1 |\n| long |  22 |"
    )
