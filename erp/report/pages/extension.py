"""The member that joined a trained router: how, what it brought, and regret against the number of its labels."""

from __future__ import annotations

import shlex

from erp.config.typed import quoted
from erp.errors import one_line
from erp.report.facts import level_of
from erp.report.text import coded, escaped, gain_text, significant, table
from erp.results import Results
from erp.results.extension import Extension

METHODS = {
    "auto": "auto",
    "shrunk": "shrunk to the mean head",
    "low_rank": "low rank",
    "scratch": "ridge from scratch",
    "uniroute": "UniRoute",
}


def extension_page(results: Results) -> list[str]:
    """Nothing where no member joined."""
    joined = results.extension
    if joined is None:
        return []
    name = escaped(joined.member)
    settings = ", ".join(
        f"{key} = {significant(getattr(joined, key))}"
        for key in ("alpha", "clusters", "kappa")
        if key in joined.model_fields_set
    )
    asked = " (chosen by method=auto)" if joined.asked == "auto" else ""
    text = (
        f"{name} joined run {coded(joined.run)} by {joined.labels:,} of {joined.available:,} labels: "
        f"{METHODS[joined.method]}{asked}, {settings}. The other members' scores are those of that run. Regret at "
        f"lambda = 0 is {significant(joined.regret)} with it and {significant(joined.regret_without)} without: "
        f"joining earns {gain_text(joined.gain_of_joining)}, {level_of(results)}. Against a ridge from scratch on "
        f"the same labels it saves {gain_text(joined.saved_against_scratch)}."
    )
    rows = [
        [f"{row.labels:,}", *(significant(getattr(row, method)) for method in METHODS)] for row in joined.curve
    ]  # fmt: skip
    note = (
        "Mean over test prompts of the best observed reward minus that of the choice, by method and number of labels. "
        "Each row's labels are among the next one's, and it is one draw of them: small differences are chance."
    )
    return [f"## The member that joined: {name}", text, table(["Labels", *METHODS.values()], rows), note]


def extension_command(joined: Extension) -> str:
    """What extends the same run by the same member again."""
    member = shlex.quote(f"member={quoted(one_line(joined.member))}")
    return (
        f"erp extend run=<folder of {joined.run}> data=table data.path=<table> {member} "
        f"labels={joined.labels} method={joined.asked} seed={joined.seed}"
    )
