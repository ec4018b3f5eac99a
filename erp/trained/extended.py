"""A bundle with one member more: what it had stays bit for bit, and every column gets a last entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from erp.build import build
from erp.routers.base import Router
from erp.routers.cluster_mean import shrunk, sums_by
from erp.routers.cost_model import CostModel
from erp.routers.extended import Extended
from erp.routers.extension import ClusterHead, Head, ridges, smoothest
from erp.trained.bundle import Bundle

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of the member that joins: n prompts on which it was scored.

    Attributes:
        embedding: (n, d).
        category: (n,) codes; -1 unknown.
        others: (n, M) rewards of the members that are there, NaN where missing.
        rewards: (n,) of the new one.
        costs: (n,) of its answers, NaN where unknown.
        mean_cost: of one of its answers.
    """

    embedding: Array
    category: NDArray[np.int64]
    others: Array
    rewards: Array
    costs: Array
    mean_cost: float


def extended_bundle(
    bundle: Bundle, node: Mapping[str, Any], member: str, head: Head | ClusterHead, labels: Labels, trust: bool
) -> Bundle:
    """The bundle of the pool with the new member last.

    Args:
        bundle: as it was trained.
        node: config node of the extended router, with the old one as its base.
        member: the new one's name.
        head: what its scores come from.
        labels: what its mean reward, its cost and its category means come from.
        trust: whether classes outside ``erp`` may be built.
    """
    card = replace(bundle.card, router=dict(node), members=(*bundle.card.members, member))
    router = build(node, Router, key="router", trust=trust)
    assert isinstance(router, Extended)
    extended = Bundle(card, router, bundle.backbone)
    router.base.load_state_dict(bundle.router.state_dict())
    router.take(head)
    extended.classifier.load_state_dict(bundle.classifier.state_dict())
    reward = joined_mean(labels, bundle.train_mean_reward.numpy())
    extended.train_mean_reward.copy_(torch.cat([bundle.train_mean_reward, torch.tensor([reward], dtype=torch.float64)]))
    cost = torch.tensor([labels.mean_cost], dtype=torch.float64)
    extended.train_mean_cost.copy_(torch.cat([bundle.train_mean_cost, cost]))
    column = _category_means(labels, len(card.categories))
    extended.category_mean.means = torch.cat([bundle.category_mean.means, column], dim=1)
    if bundle.cost_model is not None:
        assert extended.cost_model is not None
        extended.cost_model.load_state_dict(bundle.cost_model.state_dict())
        known = np.isfinite(labels.costs)
        _add_costs(extended.cost_model, labels.embedding[known], labels.costs[known])
    return extended.eval()


def joined_mean(labels: Labels, means: Array) -> float:
    """Mean reward of the new member as if it had answered what the others' train means are of.

    Mean over the labels of its reward less how much easier than usual the prompt was for the others: least squares of
    reward = prompt + member, with the others' effects as they are. Members are compared by it, as `member_means` does.

    Args:
        labels: of the new member.
        means: (M,) train means of the others.
    """
    present = ~np.isnan(labels.others)
    ease = np.where(present, labels.others - means, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return float((labels.rewards - ease).mean())


def _category_means(labels: Labels, categories: int) -> torch.Tensor:
    """(categories + 1, 1) means of the new member's labels in every category, as `CategoryMean` has them."""
    codes = torch.from_numpy(labels.category % (categories + 1))  # -1 becomes the last row
    overall = torch.tensor(labels.rewards.mean())
    means = shrunk(*sums_by(codes, torch.from_numpy(labels.rewards)[:, None], categories + 1), overall, 0.0)
    means[-1] = overall
    return means


def _add_costs(model: CostModel, embedding: Array, costs: Array) -> None:
    """One more member of a model of costs: of logarithms where others are and its costs allow it.

    The mean where there are too few labels for more, and where that is what the others have.
    """
    flat = len(costs) == 1 or set(model.heads) == {"mean"}
    log = bool(model.logarithm.any()) and bool((costs > 0).all())
    target = np.log(costs) if log else costs
    weight, intercept = np.zeros(embedding.shape[1]), float(target.mean())
    if not flat:
        fit = smoothest(ridges(embedding, target))
        weight, intercept = fit.weight, fit.intercept
    if log:  # smeared, as `CostModel` is
        intercept += float(np.log(np.exp(target - embedding @ weight - intercept).mean()))
    model.join(weight, intercept, (float(costs.min()), float(costs.max())) if log else None)
