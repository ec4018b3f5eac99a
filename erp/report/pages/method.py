"""What the run was made of, and how it was measured."""

from __future__ import annotations

from erp.errors import one_line
from erp.report.facts import level_of
from erp.report.pages.extension import extension_command
from erp.report.text import coded, escaped, significant
from erp.results import Results


def data_page(results: Results) -> list[str]:
    """Prompts, splits and costs, with what was odd."""
    data, cost = results.data, results.cost
    low, high = data.samples_per_cell
    lines = [
        f"- {data.prompts:,} prompts, {data.members} members, K samples per cell (a prompt and a member), K = "
        + (f"{low}" if low == high else f"{low} to {high}"),
        f"- {data.train:,} train, {data.validation:,} validation, {data.test:,} test prompts "
        f"(split seed {results.run.split_seed})",
        f"- {data.excluded:,} test prompts lack the reward of some member and are left out of every routing row",
        f"- {data.categories} categories" if data.categories else "- no categories",
        "- costs: " + ("none, every member is free" if cost.kind == "none" else f"{cost.kind}, {cost.unit}"),
        *[f"- {escaped(note)}" for note in [*data.notes, *cost.notes]],
    ]
    return ["## Data", "\n".join(lines)]


def method_page(results: Results) -> list[str]:
    """How it was measured, and how to repeat it."""
    run = results.run
    chosen = ", ".join(f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {escaped(value)}"
                       for key, value in run.chosen.items())  # fmt: skip
    split = f"Prompts were split by {run.split_by} (`split.by`); those of equal text are never parted. "
    fitted = "The router was fitted on train, " + (
        f"what had to be chosen ({chosen}) was chosen on validation" if chosen else "choices were made on validation"
    )
    gains = (
        " Gains are paired by prompt; their intervals are from a bootstrap over groups of prompts, "
        f"{level_of(results)}. "
    )
    took = f"It took {run.seconds:.1f} s."
    if run.evaluated_on is not None:
        text = f"{fitted}, in an earlier run; here it is only tested.{gains}{took}"
        repeat = coded(f"erp evaluate run=<folder of {run.name}>")
        command = f"To repeat it: {repeat}, with the same overrides."
        return ["## How this was measured", text, command]
    text = (
        f"{split}{fitted}, and test was read once.{gains}On validation, which has other prompts, the router's "
        f"{results.objective.name} is "
        f"{significant(results.objective.value)}. {took}"
    )
    repeat = extension_command(results.extension) if results.extension else "erp train config=<run folder>/config.yaml"
    command = f"The run folder is {coded(run.name)}. To repeat the run:\n\n    {one_line(repeat)}"
    return ["## How this was measured", text, command]
