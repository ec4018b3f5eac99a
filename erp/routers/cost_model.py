"""Costs predicted prompt by prompt: a ridge on what answers cost, or on its logarithm with Duan's smearing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.arithmetic import Array, PredictedCosts
from erp.routers.base import Batch, Fitted, array_of, arrays_of
from erp.routers.ridge import RELATIVE_ALPHAS, Ridge, coefficients, gather

Head = Literal["linear", "log", "mean"]


class CostModel(Fitted):
    """What answers cost, by prompt and member, from the embedding.

    *linear*: a ridge on costs, predictions below 0 taken for 0 (CARROT, 2502.03261). *log*: a ridge on the logarithm of
    costs; the mean of exp(residual) on train turns exp(prediction) into a mean again (smearing, Duan 1983), member by
    member. Its penalty is the one whose costs, not logarithms, err least on validation. A prediction stays within the
    costs that train has seen. A member whose costs are not all above 0 on train has no logarithms, and stays linear.

    Left open, validation decides for the whole pool: the head of the least squared error, in units of that of the
    members' train means and averaged over members; and the train means themselves where neither errs less.

    Args:
        head: ``linear``, ``log``, or None: by validation.
    """

    weight: Tensor
    intercept: Tensor
    alpha: Tensor
    logarithm: Tensor
    least: Tensor
    most: Tensor
    linear_error: Tensor
    log_error: Tensor

    def __init__(self, head: Literal["linear", "log"] | None = None) -> None:
        super().__init__()
        self._head = head
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, M)
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))  # (M,) the smearing is in it
        self.register_buffer("alpha", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("logarithm", torch.empty(0, dtype=torch.bool))  # (M,) whose exponential is the cost
        self.register_buffer("least", torch.empty(0, dtype=torch.float64))  # (M,) between which predictions stay
        self.register_buffer("most", torch.empty(0, dtype=torch.float64))
        self.register_buffer("linear_error", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("log_error", torch.tensor(torch.nan, dtype=torch.float64))

    @property
    def heads(self) -> list[Head]:
        """Of each member (M,); ``mean`` where nothing of the prompt is used."""
        flat = (array_of(self.weight) == 0).all(axis=0)
        return ["mean" if same else "log" if log else "linear" for same, log in zip(flat, self.logarithm, strict=True)]

    def costs(self, embedding: Tensor) -> Tensor:
        """Predicted costs (B, M) of embeddings (B, d), none below 0."""
        found = PredictedCosts(**arrays_of(self)).costs(array_of(embedding))
        return torch.from_numpy(found).to(embedding.device)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Learn from batches whose rewards are costs, NaN where unknown; both can be iterated over again.

        Raises:
            ErpError: ``log`` is asked for, and no member's costs are all above 0.
        """
        ridge = Ridge()
        ridge.fit(train, validation)
        seen = _Seen.of(train)
        positive = np.asarray(seen.least > 0)
        members = len(positive)
        linear = _Fit(
            np.concatenate([array_of(ridge.weight), array_of(ridge.intercept)[None]])[None],
            np.zeros(members, dtype=bool), np.zeros(members), np.full(members, np.inf), array_of(ridge.alpha)[None],
        )  # fmt: skip
        linear, error = linear.best(validation, seen.mean)
        self.linear_error.fill_(error)
        if self._head == "log" and not positive.any():
            raise ErpError(
                "cost.head = log: no member's costs are all above 0 on train, so they have no logarithms; allowed are "
                "linear and null; give one of these"
            )
        chosen = linear
        if self._head != "linear" and positive.any():
            log, log_error = _logarithmic(train, positive, seen, linear).best(validation, seen.mean)
            self.log_error.fill_(log_error)
            chosen = log if self._head == "log" or log_error < error else linear
        if self._head is None and min(error, float(self.log_error.nan_to_num(torch.inf))) >= 1:
            flat = np.concatenate([np.zeros_like(linear.coefficients[0, :-1]), seen.mean[None]])
            chosen = replace(linear, coefficients=flat[None], alphas=np.array([np.inf]))
        self._take(chosen)

    def _take(self, fit: _Fit) -> None:
        self.weight, self.intercept = (torch.from_numpy(x.copy()) for x in np.split(fit.coefficients[0], [-1]))
        self.intercept = self.intercept[0]
        self.alpha = torch.tensor(fit.alphas[0], dtype=torch.float64)
        self.logarithm, self.least, self.most = map(torch.from_numpy, (fit.logarithm, fit.least, fit.most))

    def join(self, weight: Array, intercept: float, within: tuple[float, float] | None) -> None:
        """One more member, (d,): of logarithms, where it is said between which costs (least, most) it stays."""
        least, most = within or (0.0, np.inf)
        self.weight = torch.cat([self.weight, torch.from_numpy(weight)[:, None]], dim=1)
        self.logarithm = torch.cat([self.logarithm, torch.tensor([within is not None])])
        for name, value in (("intercept", intercept), ("least", least), ("most", most)):
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, torch.tensor([value], dtype=old.dtype)]))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Mean, least and most of each member's known costs on train, (M,)."""

    mean: Array
    least: Array
    most: Array

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> _Seen:
        costs = [batch.rewards.numpy() for batch in batches]
        known = sum(np.isfinite(part).sum(axis=0) for part in costs)
        return cls(
            np.asarray(sum(np.nansum(part, axis=0) for part in costs) / np.maximum(known, 1)),
            np.min([np.where(np.isnan(part), np.inf, part).min(axis=0) for part in costs], axis=0),
            np.max([np.where(np.isnan(part), 0.0, part).max(axis=0) for part in costs], axis=0),
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """The same model at A penalties: coefficients (A, d + 1, M), intercepts last; the rest as `CostModel` has it."""

    coefficients: Array
    logarithm: NDArray[np.bool_]
    least: Array
    most: Array
    alphas: Array

    def best(self, validation: Iterable[Batch], mean: Array) -> tuple[_Fit, float]:
        """At the penalty whose squared error is least, in units of the means' and averaged over members; and that.

        Without a cost on validation by which to tell, at the largest penalty, and NaN.
        """
        errors, base = np.zeros(self.coefficients[:, 0].shape), np.zeros(len(mean))
        for batch in validation:
            costs, embedding = batch.rewards.numpy(), batch.features.embedding.numpy()
            known = np.isfinite(costs)
            base += (np.where(known, costs - mean, 0.0) ** 2).sum(axis=0)
            for at in range(len(errors)):
                errors[at] += (np.where(known, costs - self.at(at).costs(embedding), 0.0) ** 2).sum(axis=0)
        varies = base > 0
        ratio = (errors[:, varies] / base[varies]).mean(axis=1) if varies.any() else np.full(len(errors), np.nan)
        at = int(np.argmin(ratio)) if varies.any() else len(errors) - 1
        return replace(self, coefficients=self.coefficients[[at]], alphas=self.alphas[[at]]), float(ratio[at])

    def at(self, penalty: int) -> PredictedCosts:
        """At one of the penalties, as numpy predicts by it."""
        nothing = np.array(np.nan)
        weight, intercept = self.coefficients[penalty, :-1], self.coefficients[penalty, -1]
        alpha = np.asarray(self.alphas[penalty])
        return PredictedCosts(weight, intercept, alpha, self.logarithm, self.least, self.most, nothing, nothing)


def _logarithmic(train: Iterable[Batch], positive: NDArray[np.bool_], seen: _Seen, linear: _Fit) -> _Fit:
    """Ridges on logarithms at every penalty of the grid, smeared; linear still where costs are not all above 0."""
    moments = gather(_logs(train, positive))
    assert moments is not None  # the linear ridge was fitted on the same batches
    solutions = moments.solved()
    alphas = RELATIVE_ALPHAS * max(float(np.mean([s.eigenvalues.mean() for s in solutions])), 1e-12)
    found = coefficients(solutions, alphas)
    sums, known = np.zeros(found[:, 0].shape), np.zeros(found.shape[2])
    for batch in _logs(train, positive):
        logs, embedding = batch.rewards.numpy(), batch.features.embedding.numpy().astype(np.float64)
        here = np.isfinite(logs)
        known += here.sum(axis=0)
        for at, one in enumerate(found):
            sums[at] += np.where(here, np.exp(np.where(here, logs - (embedding @ one[:-1] + one[-1]), 0.0)), 0.0).sum(0)
    found[:, -1, positive] += np.log(sums[:, positive] / known[positive])
    found[:, :, ~positive] = linear.coefficients[:, :, ~positive]
    return _Fit(found, positive, np.where(positive, seen.least, 0.0), np.where(positive, seen.most, np.inf), alphas)


def _logs(batches: Iterable[Batch], positive: NDArray[np.bool_]) -> Iterator[Batch]:
    """Batches with logarithms in place of costs, and none of the members that have no logarithms."""
    for batch in batches:
        costs = batch.rewards.numpy()
        logs = np.where(positive, np.log(np.where(positive, costs, 1.0)), np.nan)
        yield replace(batch, rewards=torch.from_numpy(logs))
