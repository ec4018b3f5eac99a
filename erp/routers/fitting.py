"""Fitting any router outside Lightning: for routers that are made of other routers."""

from __future__ import annotations

from collections.abc import Iterable

from erp.routers.base import Batch, Router
from erp.routers.training_loop import train_by_gradient


def fit_router(
    router: Router,
    train: Iterable[Batch],
    validation: Iterable[Batch],
    seed: int = 0,
    max_epochs: int | None = None,
) -> None:
    """Solve a closed form, or train by gradient with the defaults of `train_by_gradient`, for fewer epochs if asked."""
    if router.closed_form:
        router.fit(train, validation)
    else:
        less = {} if max_epochs is None else {"max_epochs": max_epochs}
        train_by_gradient(router, train, validation, seed=seed, **less)
