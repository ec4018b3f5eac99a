"""What texts and figures both read off ``results.json``: missing values, names, scales and which members to show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from erp.errors import one_line, shortened
from erp.results import Results, number
from erp.results.overlaps import OverlappingMember
from erp.results.routing import RoutedMember
from erp.units import lambda_phrase, unit_of

ROW_NAMES = {
    "random": "random",
    "best_single": "best single",
    "best_single_hindsight": "best single in hindsight",
    "category_mean": "category mean",
    "category_mean_predicted": "category mean, by predicted category",
    "router": "router",
    "cascade": "cascade",
    "sample_all": "sample all, keep the favourite",
    "oracle": "oracle",
}
MOST_PANELS = 9  # members whose predictions are drawn


def percent(share: float, decimals: int = 0) -> str:
    """A share as a percentage, never a minus before a zero."""
    if math.isnan(share):
        return "-"
    text = f"{100 * share:.{decimals}f}%"
    return text.removeprefix("-") if float(text[:-1]) == 0 else text


def level_of(results: Results) -> str:
    """The level of all intervals, as ``95%``."""
    return f"{100 * number(results.level):g}%"


def short_names(results: Results, length: int) -> dict[str, str]:
    """Every member's name for a figure: without its vendor, and cut, where members can still be told apart."""
    names = [name for name, _ in known_members(results)]
    bare = {name: one_line(name).rsplit("/", 1)[-1] or one_line(name) for name in names}
    if len(set(bare.values())) < len(names):
        bare = {name: one_line(name) for name in names}
    cut = Counter(shortened(text, length) for text in bare.values())
    return {
        name: shortened(text, length if cut[shortened(text, length)] == 1 else 2 * length)
        for name, text in bare.items()
    }


def shown_unit(base: str) -> tuple[float, str]:
    """The factor that brings costs to the unit they are shown in, and that unit; the same in every report."""
    unit = unit_of(base)
    return 1 / unit.size, unit.shown


def routing_members(results: Results) -> list[tuple[str, RoutedMember]]:
    """Members with their reward, cost and share, the best reward first."""
    return sorted(results.decided.routing.members.items(), key=lambda item: (-item[1].reward, item[0]))


def known_members(results: Results) -> Sequence[tuple[str, RoutedMember | OverlappingMember]]:
    """The same; where no test prompt has a reward of every member with their share alone, in the pool's order."""
    if results.routing is not None:
        return routing_members(results)
    return [] if results.overlaps is None else list(results.overlaps.members.items())


def predicted_members(results: Results) -> tuple[list[str], list[str]]:
    """Members whose predictions are drawn, and those left out: the most often chosen first, then the best."""
    ranked = sorted(known_members(results), key=lambda item: -item[1].share)
    names = [name for name, _ in ranked]
    return names[:MOST_PANELS], names[MOST_PANELS:]


def policy_label(results: Results) -> str:
    """What the run decides by, on one line."""
    return one_line(results.decided.policy.label)


def policy_sign(results: Results) -> str:
    """The same for a figure."""
    return policy_label(results).replace("lambda", "λ").replace("infinity", "∞")


def decides_at_zero(results: Results) -> bool:
    """Whether the run's policy is the row at lambda = 0 itself."""
    return bool(results.decided.policy.name == "lambda" and results.decided.policy.lambda_ == 0)


def cost_header(results: Results) -> str:
    """The heading of a column of costs."""
    return "Cost" if results.cost.kind == "none" else f"Cost ({cost_scale(results)[1]})"


def cost_scale(results: Results) -> tuple[float, str]:
    """The factor and unit in which this run's costs are shown."""
    return shown_unit(results.cost.unit)


def lambda_text(results: Results, lambda_: float | None) -> str:
    """A lambda of ``results.json`` with its name and what it is a price of; null stands for infinity."""
    return lambda_phrase(lambda_, unit_of(results.cost.unit))


def lambda_header(results: Results) -> str:
    """The heading of a column of lambdas."""
    price = unit_of(results.cost.unit).price
    return f"λ ({price})" if price else "λ"


def one_sample(results: Results) -> bool:
    """Whether no cell has a second sample: rows that sample first then see the one answer that the oracle knows."""
    return results.data.samples_per_cell[1] == 1
