"""What a file says, as later commands read it: a run of another version may have gaps, and a damaged one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from pydantic import ValidationError

from erp.results.base import READ, number
from erp.results.run import differ
from erp.results.tree import Results

Content = Mapping[str, Any]
"""Of a file, as it was read: a run of another version may have gaps."""
_NEEDED = (
    *(
        f"run.{name}"
        for name in ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed", "lambda")
    ),
    *(f"curves.*.{name}" for name in ("lambda", "cost", "reward")),
    "chosen_on_validation.*",
    *(f"extension.{name}" for name in ("member", "method", "labels", "regret", "regret_without")),
    *("run", "cost.range.*"),
)
"""What no file may lack, where it has the section that it stands in."""


def require_sound(results: Content) -> None:
    """Refuse results that a later command could not read. Raises ValueError: what is wrong first, on one line."""
    faults = [fault for place, fault in _faults(results) if not fault.endswith(_LACKS) or _is_needed(place)]
    _refuse(faults)
    pool, chain = results["run"]["members"], look_up(results, "chosen_on_validation", "cascade", "chain")
    if len(set(pool)) < len(pool):
        raise ValueError("run.members names one twice")
    if not set(chain or ()) <= set(pool):
        raise ValueError("chosen_on_validation.cascade.chain names no member of the run")


def whole(results: Content) -> Results:
    """All of a file: what a report is made from. Raises ValueError: what is wrong or lacking first, on one line."""
    _refuse([fault for _, fault in _faults(results)])
    return Results.model_validate(results, extra="ignore")


_LACKS = ": Field required"


def _faults(results: Content) -> list[tuple[str, str]]:
    """Place, and what is wrong there."""
    try:
        Results.model_validate(results, extra="ignore", context=READ)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        places = [".".join(map(str, fault["loc"])) for fault in found]
        said = [fault["msg"].removeprefix("Value error, ") for fault in found]
        return [(place, f"{place}: {text}") for place, text in zip(places, said, strict=True)]
    return []


def _is_needed(place: str) -> bool:
    return any(fnmatch(place, needed) for needed in _NEEDED)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise ValueError(faults[0] + (f", and {len(faults) - 1} more" if len(faults) > 1 else ""))


def look_up(results: Content, *keys: str) -> Any:
    """A value of ``results.json``; None where the run is too old, or of a kind, to have it."""
    found: Any = results
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def value_of(results: Content, *keys: str) -> float:
    """The same for a number; NaN where there is none."""
    return number(look_up(results, *keys))


def costs_differ(results: Content) -> bool:
    """Whether there is a cost axis at all: costs are known and members differ in them."""
    return differ(results["cost"]["kind"], results["cost"]["range"])
