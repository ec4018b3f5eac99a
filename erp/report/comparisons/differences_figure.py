"""The figure of differences: every contender's gain over the best single member with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from erp.errors import shortened
from erp.findings import Pairs
from erp.report.comparisons.columns import by_panel, panel_name
from erp.report.gains import GainRow, gain_strip
from erp.report.style import GREY, canvas, heading, title

MOST_PANELS = 24  # of one figure; what is left out is said in it
MOST_STRIPS = 40  # contenders of one panel


def draw_differences(pairs: Pairs, colours: Mapping[str, str], path: Path) -> Path:
    """A strip per panel, a line per contender.

    Args:
        pairs: with one contender at least.
        colours: by contender, as in the curves; others are grey.
        path: of the PNG.
    """
    panels = by_panel(pairs.contenders)
    drawn = [panel.head(MOST_STRIPS) for panel in panels[:MOST_PANELS]]
    heights = [(1.05 if len(panels) > 1 else 0.85) + 0.27 * len(panel) for panel in drawn]
    with canvas(path, 0.5 + sum(heights)) as figure:
        grid = figure.subplots(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, panel in zip(grid, drawn, strict=True):
            rows = [
                GainRow(
                    shortened(row["contender"], 34), row["gain"], row["gain_low"], row["gain_high"],
                    colours.get(row["contender"], GREY), core=True,
                )
                for row in panel.iloc[::-1].to_dict("records")
            ]  # fmt: skip
            gain_strip(axes, rows, f"Gain in reward over best single\nat λ = 0, with {100 * pairs.level:g}% intervals")
            if len(panels) > 1:
                heading(axes, shortened(panel_name(panel), 66))
        left_out = sum(map(len, panels)) - sum(map(len, drawn))
        note = (
            ["Intervals that overlap may yet differ: see the paired differences"] if len(pairs.contenders) > 1 else []
        )
        note += [f"{left_out} more are not drawn"] if left_out else []
        title(figure, f"{len(pairs.contenders)} contenders on test prompts", *note)
    return path
