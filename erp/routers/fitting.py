"""Fitting any router outside Lightning: for routers that are made of other routers."""

from __future__ import annotations

from collections.abc import Iterable

from erp.routers.base import Batch, Router
from erp.routers.training_loop import train_by_gradient


def fit_router(router: Router, train: Iterable[Batch], validation: Iterable[Batch], seed: int = 0) -> None:
    """Solve a closed form, or train by gradient with the defaults of `train_by_gradient`."""
    if router.closed_form:
        router.fit(train, validation)
    else:
        train_by_gradient(router, train, validation, seed=seed)
