"""Does a reward model pay for length? Partial correlations of reward with the logarithm of response length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.table.schema import RewardTable

_ROUNDING = 1e-10
"""Residuals below this share of the numbers they are left of are rounding, not variance."""


@dataclass(frozen=True)
class LengthBias:
    """Correlations of reward with log(1 + completion tokens) over single responses, and what they were computed from.

    Attributes:
        between: Given prompt and member: both enter as fixed effects. None where it has no value.
        between_reason: Why it has none; None where it does.
        within: Given the cell: are the longer of the samples that one member gave for one prompt paid more? None where
            it has no value.
        within_reason: Why it has none; None where it does.
        samples: Single responses of known reward and length.
        cells: (prompt, member) cells with two or more of them, which `within` is computed from.
    """

    between: Interval | None
    between_reason: str | None
    within: Interval | None
    within_reason: str | None
    samples: int
    cells: int


def length_bias(
    table: RewardTable,
    rows: NDArray[np.int64],
    groups: NDArray[np.integer],
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> LengthBias:
    r"""Partial correlation of reward with log(1 + completion tokens), between responses and within cells.

    .. math:: r = \frac{\sum \tilde x \tilde y}{\sqrt{\sum \tilde x^2 \sum \tilde y^2}}

    with x, y the residuals of length and reward after least squares on indicators of prompt and of member (between), or
    of the cell (within). Rows that are means of several responses are left out: their lengths are means of unlike
    things. A correlation is no proof that length is what is paid for: longer answers may be better ones.
    Source of the partial correlation: Frisch & Waugh, Econometrica 1 (1933).

    Args:
        table: The table.
        rows: (n,) prompts to compute it over.
        groups: (n,) group codes of these prompts; groups are resampled, with the fixed effects held.
        draws: Resamples.
        seed: Of the draws.
        level: Of the intervals.

    Raises:
        ErpError: When rows and groups differ in length, or draws or level are out of range.
    """
    if rows.ndim != 1 or rows.shape != groups.shape:
        raise ErpError(
            f"rows, groups = arrays of shapes {rows.shape} and {groups.shape}: do not belong together; one group code "
            "per prompt is allowed; take the codes of the same prompts"
        )
    found, reason = _responses(table, rows)
    if found is None:
        return LengthBias(None, reason, None, reason, 0, 0)
    per_cell = np.bincount(found.cell)
    several = found.where(per_cell[found.cell] >= 2)
    settings = (groups, draws, seed, level)
    within: Interval | None
    why_not: str | None
    between, why = _correlation(found, _given_prompt_and_member(found), "given prompt and member", settings)
    within, why_not = None, "no cell has two responses of known length (K = 1)"
    if len(several.cell):
        within, why_not = _correlation(several, _given_cell(several), "within cells", settings)
    return LengthBias(between, why, within, why_not, len(found.cell), int((per_cell >= 2).sum()))


@dataclass(frozen=True, eq=False)
class _Responses:
    """Single responses (S,): prompt (position in the rows asked about), member, cell, and (S, 2) length and reward."""

    prompt: NDArray[np.int64]
    member: NDArray[np.int64]
    values: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def cell(self) -> NDArray[np.int64]:
        return self.prompt * self.shape[1] + self.member

    def where(self, keep: NDArray[np.bool_]) -> _Responses:
        return _Responses(self.prompt[keep], self.member[keep], self.values[keep], self.shape)


def _responses(table: RewardTable, rows: NDArray[np.int64]) -> tuple[_Responses | None, str]:
    """Responses to the prompts in question, or why there are none to speak of."""
    position = np.full(len(table.prompts), -1)
    position[rows] = np.arange(len(rows))
    samples = table.samples
    prompt = position[samples["prompt"].to_numpy(dtype=np.int64)]
    tokens = samples["completion_tokens"].to_numpy(dtype=np.float64)
    reward = samples["reward"].to_numpy(dtype=np.float64)
    kept = prompt >= 0
    for what, known in (
        ("there are no responses", kept),
        ("the table has no completion tokens", np.isfinite(tokens)),
        ("no reward is of a single response", samples["n_samples"].to_numpy() == 1),
        ("no response has a reward", np.isfinite(reward)),
    ):
        kept = kept & known
        if not kept.any():
            return None, what
    values = np.stack([np.log1p(tokens[kept]), reward[kept]], axis=1)
    low, high = values.min(axis=0), values.max(axis=0)
    for name, equal in zip(("lengths", "rewards"), low == high, strict=True):
        if equal:
            return None, f"all {name} are equal"
    member = samples["member"].to_numpy(dtype=np.int64)[kept]
    return _Responses(prompt[kept], member, values, (len(rows), len(table.members))), ""


def _given_prompt_and_member(found: _Responses) -> NDArray[np.float64]:
    """Residuals (S, 2) of least squares on indicators of prompt and member, exact for unbalanced cells.

    Prompts are swept out first; what is left are M equations for the members' effects.
    """
    n, m = found.shape
    cells = np.bincount(found.cell, minlength=n * m).reshape(n, m).astype(np.float64)
    per_prompt = np.maximum(cells.sum(axis=1), 1)
    centred = found.values - found.values.mean(axis=0)  # the sums below cancel less
    swept = centred - _means(centred, found.prompt, n)
    equations = np.diag(cells.sum(axis=0)) - cells.T @ (cells / per_prompt[:, None])
    effects = np.linalg.lstsq(equations, _sums(swept, found.member, m), rcond=None)[0]
    left = centred - effects[found.member]
    return np.asarray(left - _means(left, found.prompt, n), dtype=np.float64)


def _given_cell(found: _Responses) -> NDArray[np.float64]:
    """Residuals (S, 2) about the means of the cells."""
    return found.values - _means(found.values, found.cell, found.shape[0] * found.shape[1])


def _sums(values: NDArray[np.float64], codes: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(codes, weights=column, minlength=size) for column in values.T], axis=1)


def _means(values: NDArray[np.float64], codes: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """For every row of values, the mean over the rows of its code."""
    count = np.maximum(np.bincount(codes, minlength=size), 1)
    return np.asarray((_sums(values, codes, size) / count[:, None])[codes], dtype=np.float64)


def _correlation(
    found: _Responses,
    residuals: NDArray[np.float64],
    given: str,
    settings: tuple[NDArray[np.integer], int, int, float],
) -> tuple[Interval | None, str | None]:
    """Correlation of the two columns of residuals (S, 2), prompts resampled by group; or why there is none."""
    largest = np.abs(found.values).max(axis=0)
    for name, spread, size in zip(("lengths", "rewards"), np.abs(residuals).max(axis=0), largest, strict=True):
        if spread <= _ROUNDING * size:
            return None, f"{name} do not differ {given}"
    prompts, at = np.unique(found.prompt, return_inverse=True)
    x, y = residuals.T
    sums = _sums(np.stack([x * y, x * x, y * y], axis=1), at, len(prompts))
    groups, draws, seed, level = settings
    bootstrap = GroupBootstrap(groups[prompts], draws, seed, level)
    interval = bootstrap.of_means(sums, lambda means: means[..., :1] / np.sqrt(means[..., 1:2] * means[..., 2:]))
    return interval[0], None
