"""What another encoder changes, in words: for a report's head, and for who serves the router."""

from __future__ import annotations

from erp.errors import one_line
from erp.report.facts import shown_unit
from erp.report.text import interval_text, significant
from erp.results import number
from erp.results.base import Interval
from erp.results.drift import Drift


def drift_text(found: Drift, level: float, cost_unit: str) -> str:
    """One sentence.

    Args:
        found: what was measured.
        level: of the intervals.
        cost_unit: the base unit that costs are in.
    """
    factor, unit = shown_unit(cost_unit)
    changed = interval_text(_times(found.changed, 100)).replace(" (", "% (", 1)
    changed += "" if "%" in changed else "%"
    parts = [f"{changed} of {found.prompts:,} decisions change"]
    parts += [] if found.reward is None else [f"reward changes by {interval_text(found.reward, signed=True)}"]
    if found.cost is not None and found.cost != Interval(mean=0.0, low=0.0, high=0.0):
        parts.append(f"cost by {interval_text(_times(found.cost, factor), signed=True)} {unit}")
    if found.r2_pooled is not None and found.own_r2_pooled is not None:
        parts.append(f"R^2 is {significant(found.r2_pooled)} instead of {significant(found.own_r2_pooled)}")
    return (
        f"Asked with {one_line(found.asked_with)} instead of {one_line(found.backbone)} ({100 * level:g}% CI): "
        f"{', '.join(parts)}."
    )


def _times(found: Interval, factor: float) -> Interval:
    mean, low, high = (None if end is None else factor * number(end) for end in (found.mean, found.low, found.high))
    return Interval(mean=mean, low=low, high=high)
