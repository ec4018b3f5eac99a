"""A run's report as Markdown: the answer in words, the curve, the tables, the audits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from erp.report.facts import predicted_members
from erp.report.pages.audits import audits_page
from erp.report.pages.costs import curve_page, economics_page
from erp.report.pages.disagreement import disagreement_page
from erp.report.pages.extension import extension_page
from erp.report.pages.method import data_page, method_page
from erp.report.pages.noise import noise_page
from erp.report.pages.overlaps import overlaps_page
from erp.report.pages.predicted_costs import predicted_costs_page
from erp.report.pages.prediction import prediction_page
from erp.report.pages.rows import equal_cost_page, members_page, rows_page
from erp.report.pages.run_time import run_time_page
from erp.report.summary import plain_summary
from erp.report.text import coded, escaped
from erp.results import Results

CAPTIONS = {
    "reward_cost": "Reward against cost, and gains over best single at lambda = 0",
    "predicted_vs_observed": "Observed reward against predicted reward, member by member",
    "route_shares": "Which members the router sends prompts to",
    "variance_shares": "Where the variance of rewards lies",
}


def render(results: Results, figures: Sequence[str]) -> str:
    """The report of a run.

    Args:
        results: the content of ``results.json``.
        figures: image files as the report should link them.
    """
    run, decided = results.run, results.routing is not None  # None: no prompt has a reward of every member
    images = {PurePosixPath(figure).stem: _image(figure) for figure in figures}

    def image(stem: str) -> list[str]:
        return [images[stem]] if stem in images else []

    parts = [
        f"# {escaped(run.router)} on {escaped(run.table)}",
        *map(escaped, plain_summary(results).splitlines()),
        f"Router {coded(run.router)}, backbone {coded(run.backbone)}, reward model {coded(run.reward_model)}, "
        f"{results.data.members} members, {results.data.test:,} test prompts.",
        *image("reward_cost"),
        *extension_page(results),
        *([*equal_cost_page(results), *rows_page(results), *members_page(results)] if decided else []),
        *disagreement_page(results),
        *run_time_page(results),
        *overlaps_page(results),
        *image("route_shares"),
        *(curve_page(results) if decided else []),
        *prediction_page(results),
        *(_left_out(results, image("predicted_vs_observed"))),
        *predicted_costs_page(results),
        *(economics_page(results) if decided else []),
        *noise_page(results),
        *image("variance_shares"),
        *audits_page(results),
        *data_page(results),
        *method_page(results),
    ]
    return "\n\n".join(parts) + "\n"


def _image(figure: str) -> str:
    stem = PurePosixPath(figure).stem
    return f"![{CAPTIONS.get(stem, stem)}]({figure})"


def _left_out(results: Results, images: list[str]) -> list[str]:
    names = predicted_members(results)[1] if images else []
    if not names:
        return images
    listed = ", ".join(escaped(name) for name in names)
    return [*images, f"Members not drawn, because the router chooses others more often: {listed}."]
