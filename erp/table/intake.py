"""Rows of the long form as they come in, batch after batch: checked one by one, numbered, put aside by prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.table.columns import Faults, distinct, number_column, text_column, whole_column
from erp.table.lexicon import Known, Lexicon
from erp.table.partitions import Partitions
from erp.table.schema import MEASURE_COLUMNS
from erp.values import estimated_tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

_MEASURE = "allowed is a number of at least 0, or nothing where it is unknown"
LARGEST = 1e100
"""The largest reward in size: its square, summed over a table, is still a number."""
SMALLEST = 1e-100
"""And the smallest that a table's largest may be: squares are still above 0."""
_TYPES = {
    "prompt": "i4", "member": "i4", "row": "i8", "sample": "i8", "reward": "f8", "n_samples": "i8", "reward_var": "f8",
    **dict.fromkeys(MEASURE_COLUMNS, "f8"), "response": "u8", "estimate": "i4",
}  # fmt: skip
_BITS = np.iinfo(np.int64)
_LARGE = 1 << 62


class Intake:
    """Rows of one reward model, checked and put aside.

    Args:
        named: how errors call the table: ``data.path = t.csv``.
        columns: those that its rows have.

    Attributes:
        faults: what is wrong so far.
        rows: those put aside: numbers of prompt, member and row, and what stands in them. ``response`` is a hash of it,
            0 for none, and ``estimate`` its tokens by its length.
        members: names by number.
        count: rows so far.
        per_prompt: rows of every prompt.
        single: columns of which every value is one of single precision.
        counted: column -> members of which it is above 0 in some row.
        unknown: column -> rows in which it is -1.
        some_length_unknown: whether the completion tokens of some row are not above 0.
        some_response: whether some row has a response.
        not_finite: rows whose reward is missing, or no number that counts.
        rewarded: whether some row has a reward.
        largest: size of the largest reward.
    """

    def __init__(self, named: str, columns: Collection[str]) -> None:
        present = {"prompt", "member", "row", *columns}
        present |= {"reward_var"} if "reward_sd" in present else set()
        present |= {"estimate"} if "response" in present else set()
        self.columns = frozenset(columns)
        self.rows = Partitions({name: kind for name, kind in _TYPES.items() if name in present})
        self.faults = Faults(named)
        self.members = Lexicon()
        self.count = 0
        self.per_prompt = Known(0)
        self.single = {name for name, kind in _TYPES.items() if kind == "f8"}
        self.not_finite = 0
        self.largest = 0.0
        self.rewarded = False
        self.unknown = dict.fromkeys(MEASURE_COLUMNS, 0)
        self.counted: dict[str, set[int]] = {column: set() for column in MEASURE_COLUMNS}
        self.some_length_unknown = self.some_response = False
        self._large: dict[int, int] = {}

    def take(self, rows: pd.DataFrame, prompt: NDArray[np.int64]) -> None:
        """Check rows and put them aside; those without a prompt or a member are at fault already.

        Args:
            rows: raw columns under our names; the index is the row number that errors name.
            prompt: (n,) number of each row's prompt, -1 for none.
        """
        faults = self.faults
        member = self.members.numbers(text_column(rows["model"], faults, required=True))
        found: dict[str, NDArray[Any]] = {"prompt": prompt, "member": member, "row": rows.index.to_numpy()}
        if "reward" in rows:
            found["reward"] = self.joined(self.reward_of(rows["reward"]))
        if "n_samples" in rows:
            found["n_samples"] = whole_column(rows["n_samples"], faults, 1)
        for column, power in (("reward_sd", 2), ("reward_var", 1)):
            if column in rows:
                value, wrong = self._measure(rows[column])
                with np.errstate(over="ignore"):  # a spread beyond all bounds is unknown
                    found["reward_var"] = np.where(wrong, np.nan, value) ** power
        if "response" in rows:
            found |= _responses(rows["response"])
            self.some_response |= bool(found["response"].any())
        for column in MEASURE_COLUMNS:
            if column in rows:
                found[column] = self._known(rows[column], member)
        if "sample" in rows:
            found["sample"] = self.identities(whole_column(rows["sample"], faults))
        self.count += len(rows)
        whole = (prompt >= 0) & (member >= 0)
        if not whole.all():
            found = {name: values[whole] for name, values in found.items()}
        if len(found["prompt"]):
            self.per_prompt.upto(int(found["prompt"].max()) + 1)[:] += np.bincount(found["prompt"])
        numbers = (self.single & found.keys()) - {"reward"}
        self.single -= {name for name in numbers if not _is_single(found[name])}
        self.rows.add(found)

    def reward_of(self, raw: pd.Series) -> NDArray[np.float64]:
        """Rewards as they stand there."""
        reward = number_column(raw, self.faults, or_truth=True)
        if "reward" in self.single and not _is_single(reward):
            self.single.discard("reward")
        return reward

    def joined(self, reward: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rewards of rows with NaN for missing, which are counted."""
        finite = np.isfinite(reward)
        self.not_finite += int((~finite).sum())
        self.rewarded |= bool(finite.any())
        self.largest = max(self.largest, float(np.abs(reward[finite]).max(initial=0.0)))
        return np.where(finite, reward, np.nan)

    def _measure(self, raw: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """A number that is not negative, and where it is no such; -1 tokens say that they are unknown."""
        value = number_column(raw, self.faults)
        tokens = str(raw.name).endswith("tokens")
        wrong = ((value < 0) & ~((value == -1) & tokens)) | np.isinf(value)
        self.faults.rows(wrong, raw, _MEASURE)
        return value, wrong

    def _known(self, raw: pd.Series, member: NDArray[np.int64]) -> NDArray[np.float64]:
        """Tokens or costs, NaN where unknown; whether 0 is, is told when all rows are there."""
        column = str(raw.name)
        value, wrong = self._measure(raw)
        unknown = value == -1
        self.unknown[column] += int(unknown.sum())
        self.counted[column].update(np.flatnonzero(np.bincount(member[(value > 0) & (member >= 0)])).tolist())
        self.some_length_unknown |= column == "completion_tokens" and not bool((value > 0).all())
        return np.where(unknown | wrong, np.nan, value)

    def identities(self, value: NDArray[Any]) -> NDArray[np.int64]:
        """Sample numbers as int64; a large one gets a place that `renumbered` turns into one in the order of all."""
        large = (value > _LARGE) | (value < -_LARGE)
        kept = np.where(large, 0, value).astype(np.int64) if large.any() else value
        for i in np.flatnonzero(large).tolist():
            kept[i] = _BITS.min + self._large.setdefault(int(value[i]), len(self._large))
        return np.asarray(kept, dtype=np.int64)

    def renumbered(self, sample: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sample numbers as they are where 64 bits hold all, else numbers as distinct and in one order."""
        if not self._large:
            return sample
        ordered = sorted(self._large)
        below = sum(number < 0 for number in ordered)
        places = {
            number: _LARGE + 1 + rank if number > 0 else rank - below - _LARGE for rank, number in enumerate(ordered)
        }
        if _BITS.min <= ordered[0] and ordered[-1] <= _BITS.max:
            places = {number: number for number in ordered}
        of_kept = np.array([places[number] for number in self._large], dtype=np.int64)
        at = sample < -_LARGE
        out = sample.copy()
        out[at] = of_kept[sample[at] - _BITS.min]
        return out

    def tell(self) -> None:
        """Record what is wrong with the rewards as a whole."""
        if self.largest > LARGEST or 0 < self.largest < SMALLEST:
            self.faults.add(
                "size of rewards",
                1,
                [
                    f"column reward: the largest is {self.largest:.3g} in size, and sums of squares of such numbers "
                    f"cannot be computed; allowed is from {SMALLEST:g} to {LARGEST:g}; give rewards in another unit"
                ],
            )


def _responses(raw: pd.Series) -> dict[str, NDArray[Any]]:
    """A hash of every response, 0 where there is none, and its tokens by its length."""
    found = distinct(raw)
    texts = [value if isinstance(value, str) else str(value) for value in found.values]
    hashes = np.zeros(len(texts) + 1, dtype=np.uint64)  # code -1 reads the last
    hashes[:-1] = np.maximum(pd.util.hash_array(np.array(texts, dtype=object)), np.uint64(1))
    tokens = np.array([estimated_tokens(text) for text in texts] + [0], dtype=np.int32)
    return {"response": hashes[found.codes], "estimate": tokens[found.codes]}


def _is_single(values: NDArray[np.float64]) -> bool:
    """Whether single precision holds the very values."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float32), values, equal_nan=True))
