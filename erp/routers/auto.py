"""Auto: the simplest of the routers that do best inside the train half, for who only wants the best router."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router, concatenated
from erp.routers.competing import complete, earned_by
from erp.routers.fitting import fit_router
from erp.routers.halving import Round, parts, rounds
from erp.routers.one_standard_error import loss_of_choosing, simplest_and_best

FEWEST_GROUPS = 8  # of prompts; of fewer nothing is learnt about who does better


class Auto(Router):
    """The simplest of the candidates that cannot be told from the best, fitted on train and validation as given.

    They compete inside the train half by successive halving (Jamieson & Talwalkar, AISTATS 2016): in each round every
    candidate is fitted on some of the prompts and scored on the others, and one in four goes on (`rounds`): the
    simplest that may still win, and those of most utility (`simplest_and_best`). Up to twelve candidates
    are fitted on a third of the prompts first, more on a ninth; the last few are cross-validated. One that learns
    by gradient has fewer epochs likewise. A utility is reward - lambda * cost of the
    decisions; predicted costs are the means of the prompts learnt from. Prompts of one group stay together. Test is not
    looked at.

    Candidates that need categories drop out where the table has none; ordinal ones where lambda is above 0, since they
    have no price per reward.

    Args:
        candidates: by name, the simplest first.
        folds: of the last round, 2 or more; None: 3, or 2 of a thousand groups of prompts or more.
        lambda_: the price at which they compete, that of the run's policy; None for a policy without one, which may
            compare predicted rewards: they compete at no price then, and only those that predict rewards.
        seed: of the rounds' prompts, and of candidates that draw.
    """

    closed_form = True
    choice: Tensor
    utilities: Tensor
    expected_loss: Tensor | None

    def __init__(
        self, candidates: dict[str, Router], folds: int | None = None, lambda_: float | None = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if not candidates:
            raise ErpError("router.candidates: is empty; give one router or more, by name")
        if folds is not None and folds < 2:
            raise ErpError(f"router.folds = {folds}: one fold to learn from, one to score; give 2 or more")
        self.candidates = nn.ModuleDict(candidates)
        self.names = tuple(candidates)
        self.folds, self.lambda_, self.seed = folds, lambda_, seed
        self.categories = 0
        self.register_buffer("choice", torch.tensor(-1))
        self.register_buffer("utilities", self._unknown(1))  # (rounds, candidates); (candidates,) before there were any
        self.register_buffer("expected_loss", None)  # of choosing; runs of before there was one have none

    @property
    def winner(self) -> Router:
        """The chosen candidate; the first before one is chosen."""
        found = self.candidates[self.names[max(int(self.choice), 0)]]
        assert isinstance(found, Router)
        return found

    @property
    def scale(self) -> Literal["reward", "ordinal"]:  # type: ignore[override]
        """The winner's."""
        return self.winner.scale

    @property
    def reads_category(self) -> bool:  # type: ignore[override]
        """The winner's; before one is chosen, whether every candidate does."""
        if int(self.choice) >= 0:
            return self.winner.reads_category
        return all(candidate.reads_category for candidate in self._every().values())

    @property
    def learns_spread(self) -> bool:  # type: ignore[override]
        """Whether every candidate does: of one among others only the predicted mean is used, which means teach too."""
        return all(candidate.learns_spread for candidate in self._every().values())

    @property
    def reads_samples(self) -> bool:  # type: ignore[override]
        """Whether any candidate does."""
        return any(candidate.reads_samples for candidate in self._every().values())

    def prepare(self, dimensions: Dimensions) -> None:
        """Prepare every candidate: which one a checkpoint holds is known only when it is loaded."""
        self.categories = dimensions.categories
        for candidate in self._every().values():
            candidate.prepare(dimensions)

    def scores(self, features: Features) -> Tensor:
        """The winner's scores, (B, M)."""
        return self.winner.scores(features)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Let the candidates compete, then fit the winner."""
        competing = [k for k, name in enumerate(self.names) if self._may_compete(self._every()[name])]
        if not competing:
            raise ErpError(
                f"router.candidates = {', '.join(self.names)}: none can be used here (no categories, or lambda above 0 "
                "with ordinal scores); give one that needs no category and predicts rewards, like ridge"
            )
        everything = concatenated([*train, *validation])
        groups = len(np.unique(everything.groups.numpy()))
        self.expected_loss = None
        self.utilities = self._unknown(1)
        if len(competing) > 1 and groups >= max(FEWEST_GROUPS, self.folds or 0):
            competing = self._competed(competing, everything, rounds(len(competing), groups, self.folds))
        self.choice = torch.tensor(competing[0])  # candidates that cannot be told apart: the simplest
        fit_router(self.winner, train, validation, self.seed)

    def chosen(self) -> dict[str, float | str]:
        """The winner, what it chose, each candidate's utility in its last round, and the expected loss of choosing."""
        found: dict[str, float | str] = {}
        utilities = self.utilities.reshape(-1, len(self.names))
        for k, name in enumerate(self.names):
            known = [(number, u) for number, u in enumerate(utilities[:, k].tolist(), start=1) if u == u]
            if known:
                number, utility = known[-1]
                found[f"utility of {name}" + (f" in round {number}" if number < len(utilities) else "")] = utility
        if self.expected_loss is not None:
            found["expected loss of choosing"] = float(self.expected_loss)
        return {"router": self.names[max(int(self.choice), 0)], **self.winner.chosen(), **found}

    def _unknown(self, rounds: int) -> Tensor:
        return torch.full((rounds, len(self.names)), torch.nan, dtype=torch.float64)

    def _every(self) -> Mapping[str, Router]:
        return dict(self.candidates.items())  # type: ignore[arg-type]  # a ModuleDict forgets what it holds

    def _may_compete(self, candidate: Router) -> bool:
        if (candidate.reads_category or candidate.learns_category) and self.categories == 0:
            return False
        return self.lambda_ == 0 or candidate.scale == "reward"

    def _competed(self, competing: list[int], everything: Batch, planned: list[Round]) -> list[int]:
        """Those left after all rounds; what they earned, and may have lost by choosing, is kept."""
        groups, judged = everything.groups.numpy(), complete(everything)
        made, loss = [], 0.0
        for number, this in enumerate(planned):
            fits = [parts(groups, window, (self.seed, number)) for window in this.windows]
            fits = [(learnt, chosen_on, scored & judged) for learnt, chosen_on, scored in fits]
            fits = [rows for rows in fits if rows[2].any()]
            if not fits or len(competing) == 1:
                break
            earned = np.concatenate([self._earned(competing, everything, rows, this.epochs) for rows in fits])
            of = np.concatenate([groups[scored] for _, _, scored in fits])
            made.append(self._unknown(1))
            made[-1][0, competing] = torch.from_numpy(earned.mean(axis=0))
            loss += loss_of_choosing(earned, of, this.places, self.seed)
            competing = [competing[k] for k in simplest_and_best(earned, of, this.places)]
        if made:
            self.utilities, self.expected_loss = torch.cat(made), torch.tensor(loss, dtype=torch.float64)
        return competing

    def _earned(
        self, competing: list[int], everything: Batch, rows: tuple[NDArray[np.bool_], ...], epochs: int
    ) -> NDArray[np.float64]:
        """What the decisions of each candidate earn (n, C) on the last of three parts, fitted on the others."""
        learnt, chosen_on, scored = (everything.take(torch.from_numpy(part)) for part in rows)
        costs, columns = learnt.costs.mean(dim=0).numpy(), []
        for k in competing:
            fresh = copy.deepcopy(self._every()[self.names[k]])
            fit_router(fresh, [learnt], [chosen_on], self.seed, epochs)
            with torch.no_grad():
                scores = fresh.scores(scored.features).to(torch.float64).numpy()
            columns.append(earned_by(scores, scored, costs, self.lambda_ or 0.0))
        return np.stack(columns, axis=1)
