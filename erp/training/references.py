"""What is fitted beside the router: what every report needs, and costs where they are predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from erp.backbones.fitted import learnt_once
from erp.routers.base import Batch
from erp.routers.classifier import learnt_from
from erp.trained.bundle import Bundle
from erp.training.data import RoutingData
from erp.training.datamodule import RoutingDataModule


def fit_references(bundle: Bundle, datamodule: RoutingDataModule) -> None:
    """Train means, category means, the classifier of categories and the model of costs, on the data's embeddings."""
    data = datamodule.data
    parts = data.split.train, data.split.validation
    bundle.train_mean_reward.copy_(torch.from_numpy(member_means(data.targets.mean[data.split.train])))
    bundle.train_mean_cost.copy_(torch.from_numpy(data.costs.mean))
    bundle.category_mean.fit(datamodule.loader(data.split.train, embeddings=False), ())
    if bundle.card.categories:
        train, validation = (datamodule.loader(rows[learnt_from(data.category[rows])]) for rows in parts)
        once = None if datamodule.cache is None else partial(learnt_once, cache=datamodule.cache)
        bundle.classifier.fit(train, validation, len(bundle.card.categories), once)
    if bundle.cost_model is not None:
        bundle.cost_model.fit(*(_Costs(datamodule.loader(rows), data) for rows in parts))


class _Costs:
    """Batches whose rewards are costs, where known: the member's mean, which stands elsewhere, teaches nothing."""

    def __init__(self, batches: Iterable[Batch], data: RoutingData) -> None:
        self._batches = batches
        self._costs = torch.from_numpy(data.costs.known)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            yield replace(batch, rewards=self._costs[batch.rows])


def member_means(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) mean reward of each member as if all had answered the same prompts.

    Least squares of reward = prompt + member over the cells that are present (n, M): a member that was scored on easier
    prompts is not taken for a better one. With no cell missing these are the column means.
    """
    rewards = rewards[~np.isnan(rewards).all(axis=1)]
    present = ~np.isnan(rewards)
    per_prompt = present.sum(axis=1)
    prompt_mean = np.where(present, rewards, 0.0).sum(axis=1) / per_prompt
    # Normal equations of the member effects, the prompts' eliminated; singular, as only differences are determined.
    system = np.diag(present.sum(axis=0)) - (present / per_prompt[:, None]).T @ present
    right = np.where(present, rewards - prompt_mean[:, None], 0.0).sum(axis=0)
    effect = np.linalg.pinv(system, rcond=1e-9, hermitian=True) @ right
    # The mean over prompts of prompt + member effect.
    prompt_effect = prompt_mean - (present @ effect) / per_prompt
    return np.asarray(prompt_effect.mean() + effect)
