"""A trained router out of its checkpoint: prompts in, scores and choices out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from erp.backbones.base import Backbone, Weighted
from erp.backbones.cache import embed_prompts
from erp.build import build
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError, shorten
from erp.files import whole_text
from erp.routers.base import Features, Router
from erp.runs import RunFolder
from erp.training.data import category_codes
from erp.training.module import Card, RoutingModule

Scores = NDArray[np.float64]


class TrainedRouter:
    """A router that was trained, with its backbone, policy and predicted costs.

    Attributes:
        members: the pool, in the order of the scores' columns.
    """

    def __init__(self, module: RoutingModule, trust: bool = False, weights_dir: str | None = None) -> None:
        self.module = module.eval()
        self.card = module.card
        self.members = self.card.members
        self.backbone = build_backbone(self.card.backbone, weights_dir, trust)
        self.policy = build(self.card.policy, LambdaPolicy, key="policy", trust=trust)

    @property
    def predicted_costs(self) -> Scores:
        """(M,) cost of each member's answer, predicted by its train mean."""
        return self.module.train_mean_cost.numpy()

    def score_matrix(self, prompts: Sequence[str], category: Sequence[object] | None = None) -> Scores:
        """Predicted scores of prompts, (n, M) float64, columns as ``members``; faults as in ``scores``."""
        texts = [whole_text(text) for text in _texts(prompts)]
        if not texts:
            return np.zeros((0, len(self.members)))
        codes = torch.from_numpy(category_codes(self._categories(category, len(texts)), self.card.categories))
        embedding = torch.from_numpy(embed_prompts(texts, self.backbone))
        with torch.no_grad():
            scores = self.module.router.scores(Features(embedding, codes))
        return scores.to(torch.float64).numpy()

    def _categories(self, category: Sequence[object] | None, prompts: int) -> list[object]:
        """One category a prompt, None for unknown. Raises ErpError."""
        if category is None:
            if self.module.router.reads_category:
                raise ErpError(
                    "category: is missing, and this router reads it; give category=[...], one a prompt, "
                    "or JSONL with a `category`"
                )
            return [None] * prompts
        values: list[object] = list(category) if isinstance(category, Iterable) else []
        if isinstance(category, str) or len(values) != prompts:
            raise ErpError(f"category = {_shown(category)}: {prompts} prompts have one category each; give a list")
        return values

    def scores(self, prompts: Sequence[str], category: Sequence[object] | None = None) -> pd.DataFrame:
        """Predicted expected reward of every member on every prompt.

        Args:
            prompts: n prompts.
            category: of each prompt, for routers that read it; unknown ones count as unseen.

        Returns:
            n rows in the order of ``prompts``, one column per member.

        Raises:
            ErpError: prompts that are no list of texts, not one category a prompt, or none for a router that reads it.
        """
        return pd.DataFrame(self.score_matrix(prompts, category), columns=list(self.members))

    def route(
        self, prompts: Sequence[str], lambda_: float | None = None, category: Sequence[object] | None = None
    ) -> pd.DataFrame:
        """The member that should answer each prompt.

        Args:
            prompts: n prompts.
            lambda_: reward per unit of cost; None for the policy the run was trained with.
            category: as in ``scores``.

        Returns:
            n rows: ``member``, ``predicted_reward``, ``predicted_cost``, ``prompt``.

        Raises:
            ErpError: as ``scores``, or a lambda that is no price.
        """
        prompts = _texts(prompts)
        policy = self.policy if lambda_ is None else LambdaPolicy(lambda_)
        scores = self.score_matrix(prompts, category)
        if not len(scores):
            return pd.DataFrame(columns=["member", "predicted_reward", "predicted_cost", "prompt"])
        chosen = policy.choose(scores, self.predicted_costs).weights.argmax(axis=1)
        return pd.DataFrame(
            {
                "member": [self.members[m] for m in chosen],
                "predicted_reward": scores[np.arange(len(scores)), chosen],
                "predicted_cost": self.predicted_costs[chosen],
                "prompt": prompts,
            }
        )


def _texts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list. Raises ErpError on one bare text, and on items that are none."""
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise ErpError(f"prompts = {_shown(prompts)}: is no list of texts; give [prompt, ...]")
    texts = list(prompts)
    wrong = [f"{i} ({_shown(text)})" for i, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise ErpError(f"prompts: no text at position {shorten(wrong)}; give a str for every prompt")
    return texts


def _shown(value: object) -> str:
    """A value in an error line: on one line, and not all of it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def category_scores(module: RoutingModule, codes: NDArray[np.int64]) -> Scores:
    """The category mean's scores of prompts by their codes, (n, M): the baseline that stands beside every router."""
    nothing = torch.empty(len(codes), 0)
    return np.asarray(module.category_mean.scores(Features(nothing, torch.from_numpy(codes))).numpy())


def build_backbone(node: dict[str, Any], weights_dir: str | None, trust: bool = True) -> Backbone:
    """A backbone that knows where weights lie."""
    backbone = build(node, Backbone, key="backbone", trust=trust)
    if isinstance(backbone, Weighted):
        backbone.look_in(weights_dir)
    return backbone


def load(run: str | Path, trust: bool = False, weights_dir: str | None = None) -> TrainedRouter:
    """Open a run folder. No code of the folder runs: tensors and plain values only, classes of ``erp`` only.

    Args:
        run: the folder that ``erp train`` printed.
        trust: also build classes outside ``erp`` that the folder names.
        weights_dir: where the backbone's weights may lie.

    Raises:
        ErpError: no finished run there, or its checkpoint cannot be read.
    """
    folder = RunFolder(Path(run))
    if not folder.path.is_dir():
        raise ErpError(f"run = {run}: there is no such folder; give one that `erp train` printed")
    if not folder.checkpoint.exists() or not folder.finished:
        raise ErpError(f"run = {run}: the run is not finished; start the same command again, or wait for it")
    return TrainedRouter(load_module(folder.checkpoint, trust), trust, weights_dir)


def load_module(checkpoint: Path, trust: bool = False) -> RoutingModule:
    """The module as it was saved. Raises ErpError on a file that is no checkpoint of ours, or names foreign code."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        card = Card.from_plain(content["card"])
        state = content["state_dict"]
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise _unreadable(checkpoint, error) from None
    module = RoutingModule(build(card.router, Router, key="router", trust=trust), card)
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _unreadable(checkpoint, error) from None
    return module


def _unreadable(checkpoint: Path, error: Exception) -> ErpError:
    # torch goes on for paragraphs, about options of its own that do not exist here
    reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:120]
    return ErpError(f"checkpoint = {checkpoint}: cannot be read ({reason}); restore the file, or train the run again")
