"""Does a reward model pay for length? Partial correlations of reward with the logarithm of response length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.table.schema import RewardTable
from erp.table.store import blocks

_ROUNDING = 1e-10
"""Residuals below this share of the numbers they are left of are rounding, not variance."""
_READ = ("prompt", "member", "reward", "n_samples", "completion_tokens")


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
    found, reason = _cells(table, rows)
    if found is None:
        return LengthBias(None, reason, None, reason, 0, 0)
    settings = (groups, draws, seed, level)
    within: Interval | None
    why_not: str | None
    between, why = found.correlation(found.given_prompt_and_member(), "given prompt and member", settings)
    within, why_not = None, "no cell has two responses of known length (K = 1)"
    if (found.count >= 2).any():
        within, why_not = found.correlation(found.scatter.sum(axis=1), "within cells", settings, least=2)
    return LengthBias(between, why, within, why_not, int(found.count.sum()), int((found.count >= 2).sum()))


@dataclass(frozen=True, eq=False)
class _Cells:
    """What the sums over single responses are made of, by prompt in question and member.

    Attributes:
        count: responses (n, M).
        mean: of length and reward (n, M, 2), less a constant near their means: sums cancel less. 0 in an empty cell.
        scatter: sums about the cell's means of length x reward, of length^2 and of reward^2 (n, M, 3).
        largest: size of the largest length and reward (2,).
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    largest: NDArray[np.float64]

    def given_prompt_and_member(self) -> NDArray[np.float64]:
        """Sums by prompt (n, 3), as `scatter`, of the residuals of least squares on indicators of prompt and member.

        Exact for unbalanced cells. Prompts are swept out first; what is left are M equations for the members' effects.
        """
        weight = self.count[:, :, None].astype(np.float64)
        per_prompt = np.maximum(weight.sum(axis=1, keepdims=True), 1)

        def swept(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(values - (weight * values).sum(axis=1, keepdims=True) / per_prompt)

        counts = weight[:, :, 0]
        equations = np.diag(counts.sum(axis=0)) - counts.T @ (counts / per_prompt[:, :, 0])
        right = (weight * swept(self.mean)).sum(axis=0)
        left = swept(self.mean - np.linalg.lstsq(equations, right, rcond=None)[0])
        x, y = left[:, :, 0], left[:, :, 1]
        between = (weight * np.stack([x * y, x * x, y * y], axis=2)).sum(axis=1)
        return np.asarray(between + self.scatter.sum(axis=1))

    def correlation(
        self,
        sums: NDArray[np.float64],
        given: str,
        settings: tuple[NDArray[np.integer], int, int, float],
        least: int = 1,
    ) -> tuple[Interval | None, str | None]:
        """Correlation of residuals from their sums by prompt (n, 3), prompts resampled by group; or why there is none.

        Args:
            sums: of residuals.
            given: what they are left of.
            settings: groups of the prompts; draws, seed and level.
            least: responses of a cell, from which a prompt with such a cell counts.
        """
        for name, square, size in zip(("lengths", "rewards"), sums[:, 1:].max(axis=0), self.largest, strict=True):
            if np.sqrt(square) <= _ROUNDING * size:
                return None, f"{name} do not differ {given}"
        prompts = np.flatnonzero((self.count >= least).any(axis=1))
        groups, draws, seed, level = settings
        bootstrap = GroupBootstrap(groups[prompts], draws, seed, level)
        interval = bootstrap.of_means(
            sums[prompts], lambda means: means[..., :1] / np.sqrt(means[..., 1:2] * means[..., 2:])
        )
        return interval[0], None


def _cells(table: RewardTable, rows: NDArray[np.int64]) -> tuple[_Cells | None, str]:
    """The cells of the prompts in question, or why there are no responses to speak of."""
    shape = (len(rows), len(table.members))
    found = _Cells(np.zeros(shape, dtype=np.int64), np.zeros((*shape, 2)), np.zeros((*shape, 3)), np.zeros(2))
    position = np.full(len(table.prompts), -1)
    position[rows] = np.arange(len(rows))
    reasons = [
        "there are no responses", "the table has no completion tokens", "no reward is of a single response",
        "no response has a reward",
    ]  # fmt: skip
    met, low, high, shift = 0, np.full(2, np.inf), np.full(2, -np.inf), np.zeros(2)
    for _, samples in blocks(table.samples, len(table.prompts), _READ):
        prompt = position[samples["prompt"].to_numpy()]
        tokens, reward = samples["completion_tokens"].to_numpy(), samples["reward"].to_numpy()
        kept, passed = prompt >= 0, 0
        for known in (None, np.isfinite(tokens), samples["n_samples"].to_numpy() == 1, np.isfinite(reward)):
            kept = kept if known is None else kept & known
            passed += bool(kept.any())
        met = max(met, passed)
        if passed < len(reasons):
            continue
        values = np.stack([np.log1p(tokens[kept]), reward[kept]])
        low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
        shift = shift if found.count.any() else values.mean(axis=1)
        _add(found, prompt[kept], samples["member"].to_numpy()[kept], values - shift[:, None])
    if met < len(reasons):
        return None, reasons[met]
    for name, equal in zip(("lengths", "rewards"), low == high, strict=True):
        if equal:
            return None, f"all {name} are equal"
    return replace(found, largest=np.maximum(np.abs(low), np.abs(high))), ""


def _add(found: _Cells, prompt: NDArray[np.int64], member: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Write the cells of a run of responses (S,) with their lengths and rewards (2, S); no cell is of two runs."""
    prompts, at = np.unique(prompt, return_inverse=True)
    members = found.count.shape[1]
    cell, size = at * members + member, len(prompts) * members
    count = np.bincount(cell, minlength=size)
    mean = np.stack([np.bincount(cell, weights=column, minlength=size) for column in values]) / np.maximum(count, 1)
    x, y = values - mean[:, cell]
    scatter = [np.bincount(cell, weights=product, minlength=size) for product in (x * y, x * x, y * y)]
    found.count[prompts] = count.reshape(-1, members)
    found.mean[prompts] = mean.T.reshape(-1, members, 2)
    found.scatter[prompts] = np.stack(scatter, axis=1).reshape(-1, members, 3)
