"""A guarantee: few prompts lose much against a reference member, tested on prompts kept for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_lambda
from erp.decisions.choice import Choice, choose, one_hot
from erp.decisions.policy import (
    Calibration,
    Floats,
    Observed,
    Policy,
    State,
    finite,
    not_calibrated,
    number_in,
    ordinal_fault,
    position_in,
    require_scores_and_costs,
    unknown_fault,
)
from erp.decisions.policy_risk import complete_rows, fixed_sequence, lost, one_per_group, upper_bound
from erp.decisions.references import best_single
from erp.errors import ErpError
from erp.rounding import CELL


@dataclass(frozen=True)
class _Tested:
    """What calibration gave."""

    reference: int  # position
    margin: float  # of the policy that is used; -inf: always the reference
    prompts: int  # independent ones tested on
    candidates: int  # tested in turn
    passed: int  # before the first failure
    lost: int  # of the prompts, under the policy that is used
    bound: float  # on its risk, at confidence 1 - delta; 0 for the reference itself


class GuaranteePolicy(Policy):
    """P(observed loss against the reference > t) <= alpha, with confidence 1 - delta.

    *The family.* With a margin tau, a prompt's members that may answer are the reference b and every m whose predicted
    loss rhat_b - rhat_m is at most tau; of these the cheapest answers (or, with a price lambda, the one of the largest
    rhat - lambda c). tau = -infinity is "always b", whose loss is 0; tau = infinity is the free rule. As tau grows more
    members may answer and none fewer, so on every prompt the predicted cost falls (or the utility rises), and once a
    prompt has left b, whoever takes it next has a larger predicted loss. So far as predictions order the true losses,
    the risk rises along the family; it need not for the guarantee, only for the search to get far.

    *The candidates* are margins at which choices change on validation, evenly spaced in the number of changes, from
    small to large; the last is infinity. They and the router are fixed before calibration prompts are looked at.

    *The test.* On n calibration prompts, one drawn from each group, a candidate passes if the one-sided Clopper-Pearson
    bound on P(loss > t) is at most alpha at confidence 1 - delta; they are tested in order up to the first failure. The
    last that passed is used, b itself if none did.

    *Theorem* (Learn then Test, Angelopoulos et al., 2110.01052, fixed-sequence testing). If calibration prompts and
    future ones are independent draws from one population, with their observed rewards, then with probability at least
    1 - delta over calibration the policy that is used has P(loss > t) <= alpha. *Proof.* If the policy in use has a
    larger risk, it passed, and so did every candidate before it; among them is the first in order whose risk is above
    alpha. Which one that is does not depend on calibration, and it passes with a chance of at most delta.

    *What it is about.* Single prompts of the population, each group of near-duplicates counting once, whose cells are
    all observed. The loss is the observed one: a difference of two observed rewards, each the mean of as many samples
    as the rewards given have. Sampling noise counts as loss, so a rival as good as the reference, with continuous
    rewards, is lost on half of its prompts at t = 0. It says nothing of one category, of other tables, or of
    prompts that drift.

    Args:
        reference: a member's name; None for the best single member on train.
        tolerated_loss: t, reward units, 0 or more.
        alpha: share of prompts, above 0, up to 1 (free).
        delta: chance of error, above 0 and below 1.
        lambda_: price by which those who may answer are weighed; None for the cheapest.
        candidates: margins tested, at most.
        seed: which prompt of a group is drawn.

    Raises:
        ErpError: a number out of range.
    """

    name = "guarantee"
    needs_reward_scale = True
    needs_calibration = True

    def __init__(
        self,
        reference: str | None = None,
        tolerated_loss: float = 0.0,
        alpha: float = 0.1,
        delta: float = 0.05,
        lambda_: float | None = None,
        candidates: int = 40,
        seed: int = 0,
    ) -> None:
        faults = []
        if not tolerated_loss >= 0:
            faults.append(
                f"policy.tolerated_loss = {tolerated_loss}: even the reference, whose loss is 0, would lose; 0 or more "
                "is allowed; raise it"
            )
        if not 0 < alpha <= 1:
            faults.append(f"policy.alpha = {alpha}: no share to keep below; above 0, up to 1 is allowed; change it")
        if not 0 < delta < 1:
            faults.append(f"policy.delta = {delta}: no chance of error; above 0 and below 1 is allowed; change it")
        if candidates < 1:
            faults.append(f"policy.candidates = {candidates}: nothing to test; 1 or more is allowed; raise it")
        if seed < 0:
            faults.append(f"policy.seed = {seed}: no seed; 0 or more is allowed; change it")
        if faults:
            raise ErpError(*faults)
        self.reference = reference
        self.tolerated_loss = float(tolerated_loss)
        self.alpha, self.delta, self.candidates, self.seed = float(alpha), float(delta), candidates, seed
        self.lambda_ = None if lambda_ is None else require_lambda(lambda_)
        self._tested: _Tested | None = None

    @property
    def label(self) -> str:
        """What is promised."""
        against = self.reference or "best single"
        return f"guarantee, loss > {self.tolerated_loss:g} to {against} on {self.alpha:.3g} of prompts"

    @property
    def reference_position(self) -> int:
        """Position of the reference; raises ErpError before it was calibrated."""
        return self._learnt().reference

    def calibrate(self, known: Calibration) -> None:
        """Fix the candidates on validation, test them on calibration.

        Raises:
            ErpError: ordinal scores, no calibration prompts, a reference that is no member.
        """
        if known.scale != "reward":
            raise ErpError(ordinal_fault(self, "this run"))
        if known.calibration is None:
            raise ErpError(
                "policy = guarantee: was given no calibration prompts; prompts that neither the router nor its "
                "hyper-parameters saw are allowed; erp train sets them aside"
            )
        reference = self._position(known)
        margins = self._candidates(known.validation, reference)
        rows = complete_rows(known.calibration.rewards)
        rows = rows[one_per_group(known.calibration.groups[rows], self.seed)]
        prompts = known.calibration.take(rows)
        counts, n = np.zeros(len(margins), dtype=np.int64), len(rows)
        if n:
            losers = lost(prompts.rewards, reference, self.tolerated_loss)
            for place, margin in enumerate(margins):
                members = self._members(prompts.scores, prompts.predicted_costs, reference, margin)
                counts[place] = losers[np.arange(n), members].sum()
        passed = int(fixed_sequence(counts, n, self.alpha, self.delta))
        used = passed - 1
        self._tested = _Tested(
            reference, float(margins[used]) if passed else -math.inf, n, len(margins), passed,
            int(counts[used]) if passed else 0,
            float(upper_bound(counts[used], n, 1 - self.delta)) if passed else 0.0,
        )  # fmt: skip

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Decide by the margin that passed; see `Policy.choose`."""
        del neighbours
        tested = self._learnt()
        _, m = require_scores_and_costs(scores, costs)
        if tested.reference >= m:
            raise ErpError(
                f"scores: {m} members, and the reference was member {tested.reference + 1}; the pool of the run is "
                "allowed; take the same members"
            )
        return one_hot(self._members(scores, costs, tested.reference, tested.margin), m)

    def state(self) -> State:
        """The reference's position, the margin, and what the test saw."""
        tested = self._learnt()
        return {**vars(tested), "margin": finite(tested.margin)}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        whole = {key: position_in(state, key, self) for key in ("reference", "prompts", "candidates", "passed", "lost")}
        self._tested = _Tested(**whole, margin=number_in(state, "margin", self), bound=number_in(state, "bound", self))

    def notes(self) -> tuple[str, ...]:
        """Why the policy is no other than the reference, where it is."""
        tested = self._learnt()
        if tested.passed:
            return ()
        fewest = math.ceil(math.log(self.delta) / math.log1p(-self.alpha))  # none lost: delta = (1 - alpha)^n
        if tested.prompts < fewest:
            return (
                f"{tested.prompts} independent calibration prompts cannot show alpha = {self.alpha:g}: {fewest} are "
                "needed even if none is lost. Every prompt goes to the reference.",
            )
        return ("The first candidate did not pass: every prompt goes to the reference.",)

    def _position(self, known: Calibration) -> int:
        if self.reference is None:
            return best_single(known.train_mean_reward, known.train_mean_cost)
        if self.reference not in known.members:
            raise ErpError(unknown_fault(self.reference, known.members))
        return known.members.index(self.reference)

    def _candidates(self, validation: Observed, reference: int) -> NDArray[np.float64]:
        """Margins in the order of testing; the last one frees every prompt."""
        changes = np.sort(self._changes(validation.scores, validation.predicted_costs, reference))
        places = np.linspace(0, len(changes) - 1, self.candidates)[:-1].round().astype(np.int64)
        spaced = changes[places] if len(changes) else changes
        return np.append(np.unique(spaced), math.inf)

    def _changes(self, scores: Floats, costs: Floats, reference: int) -> NDArray[np.float64]:
        """The margins at which prompts go over to another member, one for each change, in any order.

        Members are let in one after the other, by predicted loss; a change is where the one let in takes the prompt.
        """
        n, m = require_scores_and_costs(scores, costs)
        losses = _predicted_losses(scores, reference)
        order = np.argsort(losses, axis=1, kind="stable")
        allowed, rows = np.zeros((n, m), dtype=bool), np.arange(n)
        allowed[:, reference] = True
        members, margins = np.full(n, reference), []
        for let_in in order.T:
            allowed[rows, let_in] = True
            now = choose(scores, costs, self._price, allowed)
            changed = np.flatnonzero(now != members)
            margins.append(losses[changed, now[changed]])
            members = now
        return np.concatenate(margins)

    def _members(self, scores: Floats, costs: Floats, reference: int, margin: float) -> NDArray[np.int64]:
        """Who answers, (N,)."""
        rounding = CELL * (np.abs(scores) + np.abs(scores[:, reference, None]))  # .5 - .3 is within .3 - .1
        allowed = _predicted_losses(scores, reference) <= margin + rounding
        allowed[:, reference] = True
        return choose(scores, costs, self._price, allowed)

    @property
    def _price(self) -> float:
        return math.inf if self.lambda_ is None else self.lambda_

    def _learnt(self) -> _Tested:
        if self._tested is None:
            raise not_calibrated(self)
        return self._tested


def _predicted_losses(scores: Floats, reference: int) -> NDArray[np.float64]:
    """Predicted reward of the reference less that of each member, (N, M)."""
    values = np.asarray(scores, dtype=np.float64)
    return values[:, reference, None] - values
