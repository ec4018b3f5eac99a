"""Linear support vector regression, one for each member."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.cluster_mean import checked_seed
from erp.routers.columns import Columns

MOST_STEPS = 1000  # passes of the solver over the rows


class SVR(Router):
    """RouterBench's SVM router (2403.12031): ``min |w|^2 / 2 + C sum_i max(|r_i - w'e_i - b| - epsilon, 0)``.

    Scikit-learn's LinearSVR on standardised rewards, b penalised too, as there. What it predicts lies near the median
    of a reward, not the mean: where most rewards of a member are 0, it says 0.

    Args:
        strengths: C, to choose from by squared error on validation, for all members together.
        epsilon: errors up to this cost nothing, in standard deviations of the member's rewards.
        seed: of the solver.

    Raises:
        ErpError: on a C of 0 or less, or a negative epsilon.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    weight: Tensor
    intercept: Tensor
    strength: Tensor

    def __init__(self, strengths: Sequence[float] = (0.1, 1.0, 10.0), epsilon: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        if len(strengths) == 0 or not all(0 < c < float("inf") for c in strengths):
            raise ErpError(f"router.strengths = {list(strengths)}: give one or more numbers above 0")
        if not 0 <= epsilon < float("inf"):
            raise ErpError(f"router.epsilon = {epsilon}: give 0 or more")
        self.columns = Columns()
        self.strengths, self.epsilon, self.seed = sorted(set(strengths)), epsilon, checked_seed(seed)
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, M)
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))
        self.register_buffer("strength", torch.tensor(torch.nan, dtype=torch.float64))

    def scores(self, features: Features) -> Tensor:
        """Predicted rewards, (B, M) float64."""
        return self.columns.in_rewards(features.embedding.double() @ self.weight + self.intercept)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve for every strength and member; keep the strength that is best on validation."""
        embedding, columns = self.columns.taken(train)
        x, solved = embedding.double().numpy(), []
        for rows, target in columns:
            solved.append([_solved(x[rows], target, c, self.epsilon, self.seed) for c in self.strengths])
        candidates = torch.tensor(np.array(solved)).permute(1, 2, 0)  # (C, d + 1, M)
        errors = torch.zeros(len(candidates), dtype=torch.float64)
        for batch in validation if len(candidates) > 1 else ():
            found = batch.features.embedding.double() @ candidates[:, :-1] + candidates[:, -1:]
            errors += torch.nansum((self.columns.in_rewards(found) - batch.rewards) ** 2, dim=(1, 2))
        best = int(errors.argmin())
        self.weight, self.intercept = candidates[best, :-1].clone(), candidates[best, -1].clone()
        self.strength = torch.tensor(self.strengths[best], dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The C that validation chose."""
        return {"C": float(self.strength)}


def _solved(x: Any, y: Any, strength: float, epsilon: float, seed: int) -> Any:
    """Weights and, last, the intercept, (d + 1,); all 0 without a row."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVR  # here: slow to import, and needed to fit only

    if not len(y):
        return np.zeros(x.shape[1] + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: what counts is the error on validation
        model = LinearSVR(C=strength, epsilon=epsilon, random_state=seed, max_iter=MOST_STEPS).fit(x, y)
    return np.append(model.coef_, model.intercept_)
