"""Units of cost: files keep base units, readers see readable ones, and lambda is the price of one of *those*."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Unit:
    """How costs of one kind are kept, shown and priced.

    Attributes:
        base: the unit of every cost in a file or an array.
        shown: the unit of every cost in a report, a comparison, a figure.
        size: base units in one shown unit; lambda per shown unit = lambda per base unit * size.
        price: what a lambda is a price of, to be read behind its number.
    """

    base: str
    shown: str
    size: float
    price: str


LOG_FROM = 20.0  # a range of costs this wide is looked at on a logarithmic axis

UNITS = {
    "usd": Unit("USD per prompt", "USD per thousand prompts", 1e-3, "per USD per thousand prompts"),
    "flops": Unit("FLOPs per prompt", "trillion FLOPs per prompt", 1e12, "per trillion FLOPs"),
    "tokens": Unit("tokens per prompt", "tokens per prompt", 1.0, "per token"),
    "completion_tokens": Unit("tokens of an answer", "tokens of an answer", 1.0, "per token of an answer"),
    "none": Unit("none", "none", 1.0, ""),
}


LAMBDAS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("run", "policy", "interval", "shares", "perf_gain", "cost_save"), ("lambda",)),
    "chosen_on_validation": ("most_reward", "same_reward"),
}
"""Where ``results.json`` holds lambdas, beside its curves."""


def unit_of(base: str) -> Unit:
    """The unit whose base this is."""
    return next((unit for unit in UNITS.values() if unit.base == base), Unit(base, base, 1.0, f"per {base}"))


def significant(value: float | None) -> str:
    """Four significant digits; a dash where there is no value."""
    value = math.nan if value is None else float(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "infinity"
    if value == 0:
        return "0"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".") if 1e-4 <= abs(value) < 1e4 else f"{value:.3e}"


def with_base_lambda(node: Mapping[str, Any], kind: str, per: str = "shown") -> dict[str, Any]:
    """The node of a policy or router with its ``lambda``, if it has one, in reward per base unit of cost.

    Args:
        node: as configured.
        kind: of cost.
        per: what the configured lambda is a price of, a ``shown`` unit or a ``base`` one.
    """
    given = node.get("lambda")
    if per == "base" or isinstance(given, bool) or not isinstance(given, int | float):
        return dict(node)
    return {**node, "lambda": given / UNITS[kind].size}


def with_shown_lambdas(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results whose lambdas are per base unit of cost, with all of them per shown unit, and ``cost`` that says so.

    The content of a ``results.json`` of before costs had a shown unit comes back as it would be written today; any
    other comes back as it is.
    """
    cost, policy = results.get("cost"), results.get("policy")
    if not isinstance(cost, Mapping) or "shown_size" in cost:
        return dict(results)
    unit = unit_of(str(cost.get("unit")))
    found = {**results, "cost": {**cost, "shown_unit": unit.shown, "shown_size": unit.size}}
    for section, names in LAMBDAS.items():
        found[section] = _times(results.get(section), names, unit.size)
    if isinstance(curves := results.get("curves"), Mapping):
        found["curves"] = {name: _times(curve, ("lambda",), unit.size) for name, curve in curves.items()}
    if isinstance(policy, Mapping) and {"name", "label", "lambda"} <= policy.keys():
        found["policy"]["label"] = _label(found["policy"], unit)
    return {key: value for key, value in found.items() if key in results}


def lambda_phrase(lambda_: float | None, unit: Unit) -> str:
    """``lambda = 0.045 per trillion FLOPs``; null stands for infinity."""
    if lambda_ is None or not 0 < lambda_ < math.inf:
        return f"lambda = {'0' if lambda_ == 0 else 'infinity'}"
    return f"lambda = {lambda_:.3g} {unit.price}".rstrip()


def _label(policy: Mapping[str, Any], unit: Unit) -> str:
    """What a policy says it is: a budget in the shown unit, a lambda last and per shown unit."""
    if policy["name"] == "budget" and policy.get("promise") and not str(policy["label"]).endswith("cost"):  # an amount
        return f"budget = {policy['promise']['budget'] / unit.size:.4g} {unit.shown}"
    phrase = lambda_phrase(policy["lambda"], unit)
    if policy["name"] == "lambda":
        return phrase
    name = str(policy["label"]).partition(", lambda = ")[0]
    return f"{name}, {phrase}" if policy["lambda"] else name


def _times(section: Any, names: tuple[str, ...], size: float) -> Any:
    if not isinstance(section, Mapping):
        return section
    return {key: _scaled(value, size) if key in names else value for key, value in section.items()}


def _scaled(value: Any, size: float) -> Any:
    """A lambda or a list of them; null, which stands for infinity or for none, stays."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return value * size
    return [_scaled(one, size) for one in value] if isinstance(value, Iterable) else value
