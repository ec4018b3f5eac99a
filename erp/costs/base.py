"""What an answer costs, known or not: the one place where an unknown cost becomes a number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Counted = Literal["usd", "flops", "tokens", "completion_tokens", "none"]


@dataclass(frozen=True, eq=False)
class Costs:
    """Cost of one answer to every prompt by every member, and what the train prompts tell of it.

    Attributes:
        kind: What is counted.
        unit: The unit, for tables and axes.
        known: (prompts, members), NaN where nothing is known: what a model of costs learns from. Known is what was
            measured, priced, estimated (characters / 4) or assumed, and everything for kind none.
        mean: (members,) of the known ones on train: what an answer is taken to cost before it is asked for.
        notes: What was chosen, estimated or assumed, a plain sentence each.
        fell_back: The note of them that says that costs are in another unit than the one that some members have, as
            where a price file lacks a name; None where they are not.
    """

    kind: Counted
    unit: str
    known: NDArray[np.float64]
    mean: NDArray[np.float64]
    notes: tuple[str, ...]
    fell_back: str | None = None

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """(prompts, members), never NaN: what an answer is counted with. Where it is unknown, the ``mean`` stands."""
        return np.where(np.isnan(self.known), self.mean, self.known)
