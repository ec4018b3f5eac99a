"""Auto: the simplest of the routers that do best in cross-validation, for who only wants the best router."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router, concatenated
from erp.routers.fitting import fit_router
from erp.routers.one_standard_error import loss_of_choosing, simplest_of_the_best


class Auto(Router):
    """Cross-validate every candidate inside the train half, then fit the winner on train and validation as given.

    A candidate's value is the utility, reward - lambda * cost, of the decisions that it makes on the fold it has not
    seen, mean over all prompts; predicted costs are the other folds' means. Of the folds that it may see, the next one
    serves it as validation. Prompts of one group stay in one fold. Test is not looked at.

    The winner is the simplest candidate that cannot be told from the best (`simplest_of_the_best`).

    Candidates that need categories drop out where the table has none; ordinal ones where lambda is above 0, since they
    have no price per reward.

    Args:
        candidates: by name, the simplest first.
        folds: of the train half, 3 or more.
        lambda_: the price at which they compete, that of the run's policy; None for a policy without one, which may
            compare predicted rewards: they compete at no price then, and only those that predict rewards.
        seed: of the folds, and of candidates that draw.
    """

    closed_form = True
    choice: Tensor
    utilities: Tensor
    expected_loss: Tensor | None

    def __init__(
        self, candidates: dict[str, Router], folds: int = 5, lambda_: float | None = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if not candidates:
            raise ErpError("router.candidates: is empty; give one router or more, by name")
        if folds < 3:
            raise ErpError(f"router.folds = {folds}: one fold to learn from, one to choose on, one to score; 3 or more")
        self.candidates = nn.ModuleDict(candidates)
        self.names = tuple(candidates)
        self.folds, self.lambda_, self.seed = folds, lambda_, seed
        self.categories = 0
        self.register_buffer("choice", torch.tensor(-1))
        self.register_buffer("utilities", torch.full((len(candidates),), torch.nan, dtype=torch.float64))
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
        """Choose by cross-validation, then fit the winner."""
        possible = [name for name in self.names if self._may_compete(self._every()[name])]
        if not possible:
            raise ErpError(
                f"router.candidates = {', '.join(self.names)}: none can be used here (no categories, or lambda above 0 "
                "with ordinal scores); give one that needs no category and predicts rewards, like ridge"
            )
        everything = concatenated([*train, *validation])
        fold = folds_of(everything.groups.numpy(), self.folds, self.seed)
        complete = ~torch.isnan(everything.rewards).any(dim=1).numpy()
        choice = 0  # candidates that cannot be told apart: the simplest
        self.utilities = torch.full((len(self.names),), torch.nan, dtype=torch.float64)
        self.expected_loss = None
        if len(possible) > 1 and len(np.unique(fold)) == self.folds and complete.any():
            earned = np.stack([self._earned(self._every()[n], everything, fold, complete) for n in possible], axis=1)
            groups = everything.groups.numpy()[complete]
            choice, loss = simplest_of_the_best(earned, groups), loss_of_choosing(earned, groups, self.seed)
            self.utilities[[self.names.index(name) for name in possible]] = torch.from_numpy(earned.mean(axis=0))
            self.expected_loss = torch.tensor(loss, dtype=torch.float64)
        self.choice = torch.tensor(self.names.index(possible[choice]))
        fit_router(self.winner, train, validation, self.seed)

    def chosen(self) -> dict[str, float | str]:
        """The winner, what it chose, every candidate's cross-validated utility, and the expected loss of choosing."""
        utilities = {f"utility of {n}": float(u) for n, u in zip(self.names, self.utilities, strict=True) if u == u}
        loss = {} if self.expected_loss is None else {"expected loss of choosing": float(self.expected_loss)}
        return {"router": self.names[max(int(self.choice), 0)], **self.winner.chosen(), **utilities, **loss}

    def _every(self) -> Mapping[str, Router]:
        return dict(self.candidates.items())  # type: ignore[arg-type]  # a ModuleDict forgets what it holds

    def _may_compete(self, candidate: Router) -> bool:
        if (candidate.reads_category or candidate.learns_category) and self.categories == 0:
            return False
        return self.lambda_ == 0 or candidate.scale == "reward"

    def _earned(
        self, candidate: Router, everything: Batch, fold: NDArray[np.int64], complete: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """What the candidate's decisions earn on every complete prompt, whose fold it has not seen."""

        def at(rows: NDArray[np.bool_]) -> Batch:
            return everything.take(torch.from_numpy(rows))

        earned = np.zeros(len(fold))
        for held_out in range(self.folds):
            scored = complete & (fold == held_out)
            if not scored.any():
                continue
            validation = fold == (held_out + 1) % self.folds
            seen, chosen_on = (at(rows) for rows in (~validation & (fold != held_out), validation))
            fresh = copy.deepcopy(candidate)
            fit_router(fresh, [seen], [chosen_on], self.seed)
            earned[scored] = utilities_on(fresh, at(scored), seen, self.lambda_ or 0.0)
        return earned[complete]


def folds_of(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every prompt (N,): groups in a seeded order, dealt out in turn."""
    codes, of_prompt = np.unique(groups, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(codes))[of_prompt] % folds


def utilities_on(router: Router, batch: Batch, train: Batch, lambda_: float) -> NDArray[np.float64]:
    """Realised reward - lambda * cost of the router's decision on every prompt of a batch.

    Args:
        router: fitted.
        batch: prompts it has not seen, each with a reward of every member.
        train: those it has: their mean costs are what is predicted.
        lambda_: price; at infinity the utility is the cost, negative.
    """
    with torch.no_grad():
        scores = router.scores(batch.features).to(torch.float64).numpy()
    chosen = torch.from_numpy(choose(scores, train.costs.mean(dim=0).numpy(), lambda_))[:, None]
    reward, cost = (values.gather(1, chosen)[:, 0].numpy() for values in (batch.rewards, batch.costs))
    return np.asarray(-cost if np.isinf(lambda_) else reward - lambda_ * cost)
