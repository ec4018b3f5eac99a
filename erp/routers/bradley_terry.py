"""Bradley-Terry: one strength a member, from who beats whom; for all prompts alike, or by the prompts most alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.knn import scored_prompts
from erp.routers.neighbours import COLUMNS

LN10 = float(np.log(10))
GAMMA, STEEPEST = 10.0, 1e100  # as published; whose square is a float
ELO_SCALE, ELO_START = 400 / LN10, 1000.0
STEPS, STILL = 100, 1e-11  # Newton's steps at most; a step so small is the last
COMPARED = 2**20  # weights, or outcomes, of train prompts in memory at once


class BradleyTerry(Router):
    """``P(i beats j) = sigmoid(beta_i - beta_j)`` by maximum likelihood, one beta a member: Elo ratings.

    Two members that have a reward of one prompt played; the larger reward wins, equal rewards are half a win for each.
    Every prompt gets the same scores: it is what the routers that look at the prompt are to beat, on an ordinal scale.
    So that a member that never lost has a finite strength, every two members drew once more than they did.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    learns_games = True
    closed_form = True
    strengths: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strengths", torch.empty(0, dtype=torch.float64))  # (M,)

    def scores(self, features: Features) -> Tensor:
        """The strengths, of sum 0, (B, M) float64."""
        return self.strengths.expand(len(features.embedding), -1).clone()

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Count who beat whom, and solve."""
        del validation
        members = scored_prompts(train)[1].shape[1]
        wins = torch.zeros(members, members, dtype=torch.float64)
        for batch in train:
            wins += torch.stack([(batch.rewards[:, [m]] > batch.rewards).sum(dim=0) for m in range(members)])
            wins += 0.5 * torch.stack([(batch.rewards[:, [m]] == batch.rewards).sum(dim=0) for m in range(members)])
        self.strengths = strengths_of((wins + 0.5)[None])[0]

    def chosen(self) -> dict[str, Any]:
        """Elo ratings: 400 points are odds of ten to one, and the pool's mean is 1000."""
        ratings = ELO_START + ELO_SCALE * self.strengths
        return {"Elo, in the pool's order": ", ".join(f"{rating:.0f}" for rating in ratings)}


class SimilarityWeighted(Router):
    """RouteLLM's similarity-weighted ranking (2406.18665): Bradley-Terry anew for every prompt, over all of train.

    A comparison on train prompt i counts ``gamma^(1 + cos_i / max_j cos_j)``, by its cosine with the prompt at hand.
    Who wins is as in ``BradleyTerry``, and every two members drew once more, with the mean weight. Theirs merges an
    arena's 64 models into ten tiers first, for want of comparisons; in a reward table every prompt compares every two
    members.

    Args:
        gammas: candidates for gamma: that of most likelihood of validation's comparisons; None for 10, as published.

    Raises:
        ErpError: no candidate, or one that is no number from 1 to 1e100.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    learns_games = True
    closed_form = True
    embedding: Tensor
    rewards: Tensor
    gamma: Tensor | None  # where it was chosen

    def __init__(self, gammas: Sequence[float] | None = None) -> None:
        super().__init__()
        if gammas is not None and not (gammas and all(1 <= gamma <= STEEPEST for gamma in gammas)):
            raise ErpError(
                f"router.gammas = {list(gammas)}: give one number or more, each from 1 to {STEEPEST:g}, or null"
            )
        self.gammas = None if gammas is None else tuple(gammas)
        self.register_buffer("embedding", torch.empty(0, 0))
        self.register_buffer("rewards", torch.empty(0, 0, dtype=torch.float64))
        self.register_buffer("gamma", None)

    def scores(self, features: Features) -> Tensor:
        """Strengths for each prompt, of sum 0, (B, M) float64."""
        return self._strengths(features, GAMMA if self.gamma is None else float(self.gamma))

    def _strengths(self, features: Features, gamma: float) -> Tensor:
        prompts, members = self.rewards.shape
        i, j = torch.triu_indices(members, members, 1)
        wins = torch.full((len(features.embedding), members, members), 0.5, dtype=torch.float64)
        at_once, rows = max(1, COMPARED // prompts), max(1, COMPARED // max(len(i), 1))
        for block, found in zip(torch.split(features.embedding, at_once), torch.split(wins, at_once), strict=True):
            kept = torch.split(self.embedding, COLUMNS)
            cosine = torch.cat([block.double() @ part.double().T for part in kept], dim=1)
            weight = similarity_weights(cosine, gamma)
            weight /= weight.mean(dim=1, keepdim=True)  # one draw is half a win for each, of the mean weight
            for part, known in zip(torch.split(weight, rows, dim=1), torch.split(self.rewards, rows), strict=True):
                gap = known[:, i] - known[:, j]
                won = part @ torch.where(gap > 0, 1.0, torch.where(gap == 0, 0.5, 0.0)).double()
                both = ~torch.isnan(gap)
                played = part.sum(dim=1, keepdim=True) if both.all() else part @ both.double()
                found[:, i, j] += won
                found[:, j, i] += played - won
        return strengths_of(wins)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Keep the train prompts, and choose gamma where there are candidates."""
        features, self.rewards = scored_prompts(train)
        self.embedding = features.embedding
        if self.gammas is not None:
            batches = list(validation)
            losses = [
                sum(lost_on(self._strengths(b.features, gamma), b.rewards) for b in batches) for gamma in self.gammas
            ]
            self.gamma = torch.tensor(self.gammas[int(np.argmin(losses))], dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The gamma that was chosen."""
        return {} if self.gamma is None else {"gamma": float(self.gamma)}


def lost_on(strengths: Tensor, rewards: Tensor) -> float:
    """Sum of -log P of who won over the pairs of members that have a reward of one prompt; both are (B, M)."""
    i, j = torch.triu_indices(strengths.shape[1], strengths.shape[1], 1)
    better = rewards[:, i] - rewards[:, j]
    gap = strengths[:, i] - strengths[:, j]
    lost = softplus(-gap) + (1 - better.sign()) / 2 * gap
    return float(lost[~better.isnan()].sum())


def similarity_weights(cosine: Tensor, gamma: float) -> Tensor:
    """``gamma^(1 + cos / max cos)`` in each row of (B, n); where no cosine is above 0, all the same."""
    steep = float(np.log(gamma))
    most = cosine.amax(dim=1, keepdim=True)
    slope = torch.where(most > 0, steep / torch.where(most > 0, most, 1.0), 0.0)
    return (cosine * slope).add_(steep).exp_()


def strengths_of(wins: Tensor) -> Tensor:
    """Maximum likelihood of ``sum_ij wins_ij log sigmoid(beta_i - beta_j)``, of sum 0, (B, M) float64, by Newton.

    Args:
        wins: (B, M, M) how often the row's member beat the column's, above 0 off the diagonal; any weights.
    """
    members = wins.shape[1]
    off = 1.0 - torch.eye(members, dtype=torch.float64)
    wins = wins * off
    games = wins + wins.mT
    beta = torch.zeros(wins.shape[:2], dtype=torch.float64)
    level = torch.full((members, members), 1.0 / members, dtype=torch.float64)  # the sum, which games do not tell
    for _ in range(STEPS):
        chance = torch.sigmoid(beta[:, :, None] - beta[:, None, :])
        gradient = (wins - games * chance).sum(dim=2)
        information = games * chance * (1 - chance)
        hessian = torch.diag_embed(information.sum(dim=2)) - information
        scale = information.sum(dim=(1, 2)).clamp(min=1e-300)[:, None, None] / members
        step = torch.linalg.solve(hessian + scale * level, gradient)
        largest = step.abs().amax(dim=1, keepdim=True)
        beta = beta + step / largest.clamp(min=1.0)  # at most 1 at once: far out Newton overshoots
        if (largest < STILL).all():
            break
    return beta - beta.mean(dim=1, keepdim=True)
