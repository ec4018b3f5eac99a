"""What is said of members: prices out of a file, and which of several sources comes first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError, shorten
from erp.files import read_yaml

if TYPE_CHECKING:
    from erp.config import Cost, Pool
    from erp.table.schema import RewardTable

PRICES, PARAMETERS = ("input_usd_per_mtok", "output_usd_per_mtok"), "active_parameters"


@dataclass(frozen=True)
class Price:
    """A member's prices, USD per million tokens."""

    name: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float


def read_prices(path: str | Path) -> dict[str, Price]:
    """Prices from a JSON or YAML file, by member.

    Either a list of {name, input_usd_per_mtok, output_usd_per_mtok} or a mapping name -> {input, output}, both in USD
    per million tokens. Other keys of an entry are ignored.

    Raises:
        ErpError: No such file, not JSON or YAML, another shape, or a price that is not a number of at least 0.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if str(path).lower().endswith(".json") else read_yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ErpError(f"cost.prices = {path}: cannot be read ({reason}); give a JSON or YAML file") from error
    shapes = (
        "allowed are a list of {name, input_usd_per_mtok, output_usd_per_mtok} "
        "and a mapping name -> {input, output}, USD per million tokens"
    )
    if isinstance(content, list) and content:
        entries = [(entry.get("name") if isinstance(entry, dict) else None, entry) for entry in content]
    elif isinstance(content, dict) and content:
        entries = list(content.items())
    else:
        raise ErpError(f"cost.prices = {path}: neither a list nor a mapping, or empty; {shapes}; rewrite the file")
    found = (
        f"its top-level keys are {shorten(content)}"
        if isinstance(content, dict)
        else f"it lists {len(entries)} entries"
    )
    prices: dict[str, Price] = {}
    faults = []
    for position, (name, entry) in enumerate(entries):
        price = _price(name, entry)
        if price is None:
            faults.append(
                f"cost.prices = {path}: entry {name or position} is not a price; {found}; {shapes}; correct it"
            )
        elif price.name in prices:
            faults.append(f"cost.prices = {path}: {price.name} is named twice; one price each is allowed; drop one")
        else:
            prices[price.name] = price
    if faults:
        raise ErpError(
            *faults[:10], *([f"cost.prices = {path}: and {len(faults) - 10} more"] if len(faults) > 10 else [])
        )
    return prices


def _price(name: object, entry: object) -> Price | None:
    """One entry of a price file, or None if it is not one."""
    if not isinstance(entry, dict) or not isinstance(name, str) or not name:
        return None
    amounts = []
    for key in ("input", "output"):
        amount = entry.get(f"{key}_usd_per_mtok", entry.get(key))
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < np.inf:
            return None
        amounts.append(float(amount))
    return Price(name, *amounts)


def member_facts(table: RewardTable, pool: Pool, cost: Cost) -> dict[str, dict[str, float]]:
    """Member's name -> its prices (USD per million tokens) and active parameters, where they are known.

    What the pool's config says of a member comes before the price file, and that before what the table's maker said.

    Raises:
        ErpError: the price file cannot be read.
    """
    prices = {} if cost.prices is None else read_prices(cost.prices)
    of_pool = {member.name: member for member in pool.members or []}
    told: dict[str, dict[str, float]] = {}
    for name in table.members:
        maker, price, member = table.facts.get(name, {}), prices.get(name), of_pool.get(name)
        facts = {key: maker[key] for key in (*PRICES, PARAMETERS) if key in maker}
        for source in (price, member):
            pair = {key: value for key in PRICES if (value := getattr(source, key, None)) is not None}
            facts |= pair if len(pair) == len(PRICES) else {}
        if member is not None and member.active_parameters is not None:
            facts[PARAMETERS] = member.active_parameters
        told[name] = facts
    return told
