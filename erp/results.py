"""What a later command reads of a ``results.json``, and what it has to be: one damaged file must not harm another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erp.rounding import all_equal

Results = Mapping[str, Any]

MOST = 1e150  # no reward or cost of a table is so large, and the square of what is larger is infinite
Number = Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Read(BaseModel):
    """Keys of which most may be missing, as a run of another version lacks them; a value of another type is damage."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Run(_Read):
    table: str
    reward_model: str
    members: list[str] = Field(min_length=1)
    backbone: str
    router: str
    split_seed: int = Field(ge=-(2**63), lt=2**63)
    seed: int = Field(ge=-(2**63), lt=2**63)
    lambda_: float | None = Field(alias="lambda")  # null stands for infinity
    split_by: str | None = None


class _Interval(_Read):
    mean: Number | None = None
    low: Number | None = None
    high: Number | None = None


class _Row(_Read):
    member: str | None = None
    reward: Number | None = None
    cost: Number | None = None
    share: Number | None = None
    headroom_recovered: Number | None = None
    gain_vs_best_single: _Interval | None = None


class _Routing(_Read):
    router: _Row | None = None
    best_single: _Row | None = None
    gain_vs_category_mean: _Interval | None = None
    members: dict[str, _Row] | None = None


class _Predicted(_Read):
    r2: Number | None = None
    r2_ceiling: Number | None = None
    r2_corrected: _Interval | None = None
    pearson: Number | None = None
    rmse: Number | None = None


class _Prediction(_Read):
    r2_pooled: Number | None = None
    r2_pooled_ceiling: Number | None = None
    r2_pooled_corrected: _Interval | None = None
    members: dict[str, _Predicted] | None = None


class _Cost(_Read):
    kind: str | None = None
    unit: str | None = None
    range: Annotated[list[Number | None], Field(min_length=2, max_length=2)] | None = None
    shown_size: Annotated[Number, Field(gt=0)] | None = None


class _Curve(_Read):
    lambda_: list[Number | None] = Field(alias="lambda", min_length=1)
    cost: list[Number]
    reward: list[Number]

    @model_validator(mode="after")
    def _as_long(self) -> Self:
        if not len(self.lambda_) == len(self.cost) == len(self.reward):
            raise ValueError("lambda, cost and reward are not of one length")
        return self


class _Areas(_Read):
    router: Number | None = None


class _Data(_Read):
    test: Count | None = None


class _Policy(_Read):
    name: str | None = None
    label: str | None = None
    lambda_: Number | None = Field(None, alias="lambda")


class _Cascade(_Read):
    chain: list[str] = Field(min_length=1)
    threshold: float


class _Chosen(_Read):
    most_reward: Number | None
    same_reward: Number | None
    cascade: _Cascade | None


class _Objective(_Read):
    value: Number | None = None


class _Extension(_Read):
    member: str
    method: str
    labels: Count
    regret: Number
    regret_without: Number


class _Results(_Read):
    run: _Run
    data: _Data | None = None
    cost: _Cost | None = None
    policy: _Policy | None = None
    prediction: _Prediction | None = None
    routing: _Routing | None = None
    curves: dict[str, _Curve | None] | None = None
    audc: _Areas | None = None
    regret: Number | None = None
    objective: _Objective | None = None
    extension: _Extension | None = None
    verdict: str | None = None
    chosen_on_validation: _Chosen | None = None

    @model_validator(mode="after")
    def _of_one_pool(self) -> Self:
        pool, chosen = self.run.members, self.chosen_on_validation
        if len(set(pool)) < len(pool):
            raise ValueError("run.members names one twice")
        if chosen is not None and chosen.cascade is not None and not set(chosen.cascade.chain) <= set(pool):
            raise ValueError("chosen_on_validation.cascade.chain names no member of the run")
        return self


class Job(_Read):
    """One job of a sweep."""

    overrides: list[str] = []
    run: str | None = None
    status: str | None = None
    error: str | None = None


class Sweep(_Read):
    """The record of a sweep."""

    runs: list[str]
    jobs: dict[str, Job] = {}


def require_sound(results: Mapping[str, Any]) -> None:
    """Refuse results that a later command could not read. Raises ValueError: what is wrong first, on one line."""
    try:
        _Results.model_validate(results)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {said}{more}" if place else f"{said}{more}") from None


_SOME_HAVE = re.compile(r"costs are .*, which \d+ of \d+ members have")


def with_fell_back(results: Results) -> dict[str, Any]:
    """Results with ``cost.fell_back``, which earlier versions told among ``cost.notes`` alone."""
    cost = results.get("cost")
    if not isinstance(cost, Mapping) or "fell_back" in cost:
        return dict(results)
    notes = [note for note in cost.get("notes") or [] if isinstance(note, str)]
    told = next((note for note in notes if _SOME_HAVE.match(note)), None)
    return {**results, "cost": {**cost, "fell_back": told}}


def number(value: float | None) -> float:
    """A value of ``results.json`` as a float; null is NaN."""
    return math.nan if value is None else float(value)


def numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """(P,) values of ``results.json``; null is NaN."""
    return np.array([number(value) for value in values], dtype=np.float64)


def look_up(results: Results, *keys: str) -> Any:
    """A value of ``results.json``; None where the run is too old, or of a kind, to have it."""
    found: Any = results
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def value_of(results: Results, *keys: str) -> float:
    """The same for a number; NaN where there is none."""
    return number(look_up(results, *keys))


def costs_differ(results: Results) -> bool:
    """Whether there is a cost axis at all: costs are known and members differ in them."""
    ends = results["cost"]["range"]
    if results["cost"]["kind"] == "none" or ends is None:
        return False
    ends = numbers(ends)
    return bool(np.isfinite(ends).all()) and not all_equal(ends)
