"""A trained router out of its checkpoint: prompts in, scores and choices out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from erp.backbones.base import Backbone, FittedBackbone, Weighted
from erp.backbones.cache import embed_prompts
from erp.build import build
from erp.config.resolved import resolved
from erp.decisions.checks import require_lambda
from erp.decisions.choice import Choice
from erp.decisions.policy import LambdaPolicy, Policy
from erp.errors import ErpError, shorten
from erp.files import plain, replacing, whole_text
from erp.routers.base import Features, Router
from erp.runs import RunFolder
from erp.table.asked import PromptFrom, as_text, label_of
from erp.training.data import category_codes
from erp.training.module import Card, RoutingModule
from erp.units import UNITS

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a router says of n prompts.

    Attributes:
        scores: (n, M) predicted scores.
        costs: (n, M) predicted costs.
        chosen: (n,) position of the member that should answer.
    """

    scores: Scores
    costs: Scores
    chosen: NDArray[np.int64]


class TrainedRouter:
    """A router that was trained, with its backbone, policy and predicted costs.

    Attributes:
        members: the pool, in the order of the scores' columns.
    """

    def __init__(self, module: RoutingModule, trust: bool = False, weights_dir: str | None = None) -> None:
        self.module = module.eval()
        self.card = module.card
        self.members = self.card.members
        self.backbone = module.backbone or build_backbone(self.card.backbone, weights_dir, trust)
        if isinstance(self.backbone, FittedBackbone):
            self.backbone.restore(self.card.backbone_state)
        self.policy = build(self.card.policy, Policy, key="policy", trust=trust)
        self.policy.restore(self.card.policy_state)

    @property
    def told(self) -> str:
        """What a score is called in answers: ordinal ones are no rewards."""
        return "predicted_reward" if self.module.router.scale == "reward" else "score"

    @property
    def reads_category(self) -> bool:
        """Whether a prompt's category has to be given."""
        reads = self.module.router.reads_category or self.card.category_block > 0
        return reads and self.card.category == "given"

    def decide(
        self, prompts: Sequence[str], category: Sequence[object] | None = None, lambda_: float | None = None
    ) -> Decisions:
        """Scores, predicted costs and the chosen member of n prompts; faults as in ``scores`` and ``route``.

        A policy that tosses a coin between two members tosses it by the text: the same prompt goes the same way.
        """
        policy = (
            self.policy if lambda_ is None else LambdaPolicy(require_lambda(lambda_) / UNITS[self.card.cost_kind].size)
        )
        if not len(prompts):
            nothing = np.zeros((0, len(self.members)))
            return Decisions(nothing, nothing, np.zeros(0, dtype=np.int64))
        given = self._features(_texts(prompts, self.card.prompt_from), category)
        features = self.module.seen(given)
        with torch.no_grad():
            scores = self.module.router.scores(features).to(torch.float64).numpy()
            costs = self.module.predicted_costs(given.embedding).numpy()
        neighbours = neighbour_rewards(self.module, features) if policy.needs_neighbours else None
        chosen = _drawn(policy.choose(scores, costs, neighbours), prompts)
        return Decisions(scores, np.broadcast_to(costs, scores.shape), chosen)

    def _features(self, prompts: Sequence[str], category: Sequence[object] | None) -> Features:
        """What is known of n prompts."""
        texts = [whole_text(text) for text in prompts]
        codes = torch.from_numpy(category_codes(self._categories(category, len(texts)), self.card.categories))
        embedding = torch.from_numpy(embed_prompts(texts, self.backbone))
        return Features(embedding, codes)

    def _categories(self, category: Sequence[object] | None, prompts: int) -> list[object]:
        """One category a prompt, None for unknown. Raises ErpError."""
        if category is None:
            if self.reads_category:
                raise ErpError(
                    "category: is missing, and this router reads it; give category=[...], one a prompt, "
                    "or JSONL with a `category`"
                )
            return [None] * prompts
        values: list[object] = list(category) if isinstance(category, Iterable) else []
        if isinstance(category, str) or len(values) != prompts:
            raise ErpError(f"category = {_shown(category)}: {prompts} prompts have one category each; give a list")
        try:
            return [None if value is pd.NA else label_of(plain(value)) for value in values]
        except ValueError as error:
            raise ErpError(
                f"category = {_shown(category)}: one {error}; give a text for each prompt, or None"
            ) from None

    def scores(self, prompts: Sequence[str], category: Sequence[object] | None = None) -> pd.DataFrame:
        """Predicted expected reward of every member on every prompt.

        Args:
            prompts: n prompts: texts, or conversations (lists of ``{role, content}``), asked as the run's
                ``data.prompt_from`` says.
            category: of each prompt, for routers that read it; unknown ones count as unseen.

        Returns:
            n rows in the order of ``prompts``, one column per member.

        Raises:
            ErpError: prompts that are no list of texts, not one category a prompt, or none for a router that reads it.
        """
        return pd.DataFrame(
            self.decide(_texts(prompts, self.card.prompt_from), category, 0.0).scores, columns=list(self.members)
        )

    def route(
        self, prompts: Sequence[str], lambda_: float | None = None, category: Sequence[object] | None = None
    ) -> pd.DataFrame:
        """The member that should answer each prompt.

        Args:
            prompts: n prompts.
            lambda_: reward per unit of cost as reports show it: per trillion FLOPs, per USD per thousand prompts, or
                per token; None for the policy the run was trained with.
            category: as in ``scores``.

        Returns:
            n rows: ``member``, ``predicted_reward`` (``score`` if ordinal), ``predicted_cost``, ``prompt``.

        Raises:
            ErpError: as ``scores``, or a lambda that is no price.
        """
        prompts = _texts(prompts, self.card.prompt_from)
        found = self.decide(prompts, category, lambda_)
        rows = np.arange(len(prompts))
        return pd.DataFrame(
            {
                "member": [self.members[m] for m in found.chosen],
                self.told: found.scores[rows, found.chosen],
                "predicted_cost": found.costs[rows, found.chosen],
                "prompt": prompts,
            }
        )


def _drawn(choice: Choice, prompts: Sequence[str]) -> NDArray[np.int64]:
    """One member for each prompt, by the choice's weights and a number in [0, 1) that the text decides."""
    upto = choice.weights.cumsum(axis=1)
    digests = (hashlib.sha256(whole_text(text).encode()).digest() for text in prompts)
    at = np.array([int.from_bytes(digest[:6], "big") / 2.0**48 for digest in digests])
    drawn: NDArray[np.int64] = (upto <= at[:, None] * upto[:, -1:]).sum(axis=1, dtype=np.int64)
    return drawn


def neighbour_rewards(module: RoutingModule, features: Features) -> Scores | None:
    """Rewards of each prompt's nearest train prompts, (n, k, M); None for a router that keeps none."""
    ask = getattr(module.router, "neighbour_rewards", None)
    return None if ask is None else np.asarray(ask(features).numpy())


def _texts(prompts: Sequence[Any], rule: PromptFrom) -> list[str]:
    """The prompts' texts. Raises ErpError on one bare text or conversation, and on items that are neither."""
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise ErpError(f"prompts = {_shown(prompts)}: is no list of texts; give [prompt, ...]")
    texts: list[str] = []
    wrong: list[str] = []
    for i, prompt in enumerate(prompts):
        try:
            text = as_text(prompt, rule)
        except ValueError:
            text = None
        if text is None:
            wrong.append(f"{i} ({_shown(prompt)})")
        else:
            texts.append(text)
    if wrong:
        raise ErpError(f"prompts: no text at position {shorten(wrong)}; give a str for every prompt, or its messages")
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
    if not (folder.config.exists() or folder.checkpoint.exists()):
        what = "this is no run folder" if folder.path.is_dir() else "there is no such folder"
        raise ErpError(f"run = {run}: {what}; give one that `erp train` printed")
    if not folder.checkpoint.exists() or not folder.finished:
        raise ErpError(f"run = {run}: the run is not finished; start the same command again, or wait for it")
    return TrainedRouter(load_module(folder.checkpoint, trust, weights_dir), trust, weights_dir)


def load_module(checkpoint: Path, trust: bool = False, weights_dir: str | None = None) -> RoutingModule:
    """The module as it was saved, for use.

    A fine-tuned encoder is built from its released files, which have to be there, and takes the saved weights.

    Raises:
        ErpError: on a file that is no checkpoint of ours, one that names foreign code, or files that are nowhere.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        card = Card.from_plain(content["card"])
        state = content["state_dict"]
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise _unreadable(checkpoint, error) from None
    nodes = {"router": card.router, "backbone": card.backbone, "policy": card.policy}
    resolved(nodes, f"checkpoint = {checkpoint}", "restore the file, or train the run again")
    router = build(card.router, Router, key="router", trust=trust)
    module = RoutingModule(router, card, backbone=build_backbone(card.backbone, weights_dir, trust))
    try:
        module.load_state_dict(state)
        _try(module.eval())
    except (RuntimeError, TypeError, AttributeError, LookupError, ValueError) as error:
        raise _unreadable(checkpoint, error) from None
    return module


def _try(module: RoutingModule) -> None:
    """Score a prompt of no words: what was saved fits together. Raises ValueError, or what torch raises."""
    nothing = Features(torch.zeros(1, module.card.dimension), torch.tensor([-1]))
    with torch.no_grad():
        found = module.router.scores(module.seen(nothing)), module.predicted_costs(nothing.embedding)[None]
        if module.card.categories:
            module.classifier.codes(nothing.embedding)
    if any(part.shape[-1] != len(module.card.members) for part in found):
        raise ValueError(f"it does not score its {len(module.card.members)} members")


def add_to_card(checkpoint: Path, **values: Any) -> None:
    """Write into the card of a checkpoint what was learnt after it was made."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    content["card"] |= values
    with replacing(checkpoint) as temporary:
        torch.save(content, temporary)


def _unreadable(checkpoint: Path, error: Exception) -> ErpError:
    # torch goes on for paragraphs, about options of its own that do not exist here
    reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:120]
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, ('card', *first['loc'])))}: {first['msg']}"
    return ErpError(f"checkpoint = {checkpoint}: cannot be read ({reason}); restore the file, or train the run again")
