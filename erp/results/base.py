"""What the sections share: how a field is told, and numbers, intervals and names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

T = TypeVar("T")
MOST = 1e150  # no reward or cost of a table is so large, and the square of what is larger is infinite
READ = "read"
"""The context in which a file is validated that may be damaged."""


def _no_larger(value: float, info: ValidationInfo) -> float:
    if info.context == READ and abs(value) > MOST:
        raise ValueError(f"Input should be {MOST:g} at most")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = Annotated[Finite, AfterValidator(_no_larger)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# What a key stands for that is a name of the user's.
Member = Annotated[str, "member"]
Category = Annotated[str, "category"]
Setting = Annotated[str, "setting"]
Package = Annotated[str, "package"]


def number(value: float | None) -> float:
    """A value of ``results.json`` as a float; null is NaN."""
    return math.nan if value is None else float(value)


def numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """(P,) values of ``results.json``; null is NaN."""
    return np.array([number(value) for value in values], dtype=np.float64)


class Section(BaseModel):
    """A mapping of ``results.json``. What was not given stands in no file, as ``evaluated_on`` of a run."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True, defer_build=True
    )

    def given(self, kind: type[T]) -> dict[str, T]:
        """The fields of this kind that there are, by name."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, kind)}


def told(what: str, unit: str = "", null: str = "", **more: Any) -> Any:
    """A field, as docs/metrics.md and the JSON schema tell it.

    Args:
        what: it is.
        unit: its unit, its range, and whether higher or lower is better.
        null: when it is null.
        **more: of pydantic: a default where it may be absent, an alias.
    """
    return Field(description=what, json_schema_extra={"unit": unit, "null_when": null}, **more)


class Interval(Section):
    """An estimate with the ends of its paired-bootstrap interval; the ends are null with too few groups of prompts."""

    mean: Number | None
    low: Number | None
    high: Number | None


class Ends(Section):
    """The ends of an interval whose estimate stands beside it."""

    low: Number | None
    high: Number | None
