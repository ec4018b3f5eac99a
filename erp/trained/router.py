"""A trained router out of its run folder: prompts in, scores and choices out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.attempt import require_at_hand
from erp.backbones.base import FittedBackbone
from erp.backbones.cache import embed_prompts
from erp.build import build
from erp.decisions.checks import require_lambda
from erp.decisions.choice import Choice
from erp.decisions.forecast import Forecast
from erp.decisions.policy import LambdaPolicy, Policy
from erp.decisions.sequential.policy import SequentialPolicy
from erp.errors import ErpError
from erp.files import plain, whole_text
from erp.runs import RunFolder
from erp.table.asked import label_of
from erp.table.categories import category_codes, missing
from erp.threads import threads_for
from erp.trained.exported import TENSORS
from erp.trained.given import shown, texts_of
from erp.trained.hub import located
from erp.trained.light import ROUTERS as LIGHT
from erp.trained.light import is_light, load_light
from erp.trained.model import Codes, Model, Predictions, Scores, Vectors
from erp.trained.session import Session
from erp.units import UNITS

if TYPE_CHECKING:
    import pandas as pd

    from erp.trained.bundle import Bundle


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
        mean_reward: (M,) of each on train.
        mean_cost: (M,) likewise.
    """

    def __init__(self, model: Model, trust: bool = False) -> None:
        self._model = model
        self.card = model.card
        self.members = self.card.members
        self.mean_reward: Scores = np.asarray(model.train_mean_reward)
        self.mean_cost: Scores = np.asarray(model.train_mean_cost)
        self.backbone = model.backbone
        if isinstance(self.backbone, FittedBackbone):
            self.backbone.restore(self.card.backbone_state)
        self.policy = build(self.card.policy, Policy, key="policy", trust=trust)
        self.policy.restore(self.card.policy_state)

    @property
    def bundle(self) -> Bundle:
        """The torch module of a run folder."""
        from erp.trained.bundle import Bundle

        assert isinstance(self._model, Bundle)  # nobody tests, extends or exports an export
        return self._model

    @property
    def scale(self) -> str:
        """What a score is: ``reward``, or ``ordinal``."""
        return self._model.router.scale

    @property
    def told(self) -> str:
        """What a score is called in answers: ordinal ones are no rewards."""
        return "predicted_reward" if self.scale == "reward" else "score"

    @property
    def reads_category(self) -> bool:
        """Whether a prompt's category has to be given."""
        reads = self._model.router.reads_category or self.card.category_block > 0
        return reads and self.card.category == "given"

    def decide(
        self, prompts: Sequence[str], category: Sequence[object] | None = None, lambda_: float | None = None
    ) -> Decisions:
        """Scores, predicted costs and the chosen member of n prompts; faults as in ``scores`` and ``route``.

        A policy that tosses a coin between two members tosses it by the text: the same prompt goes the same way.
        """
        policy = self.priced(lambda_)
        if not len(prompts):
            nothing = np.zeros((0, len(self.members)))
            return Decisions(nothing, nothing, np.zeros(0, dtype=np.int64))
        found = self.read_by(policy, prompts, category)
        return Decisions(found.scores, found.costs, drawn(found.choice(policy), prompts))

    def priced(self, lambda_: float | None) -> Policy:
        """The policy of a lambda per shown unit of cost; the run's own where it is None. Raises ErpError."""
        if lambda_ is None:
            return self.policy
        return LambdaPolicy(require_lambda(lambda_) / UNITS[self.card.cost_kind].size)

    def read_by(self, policy: Policy, prompts: Sequence[str], category: Sequence[object] | None = None) -> Predictions:
        """What a policy reads of n prompts, at least one."""
        if not isinstance(policy, SequentialPolicy):
            return self.predict(prompts, category, policy.needs_neighbours)
        known = self.forecast(prompts, category)
        scores, costs = (np.asarray(part, dtype=np.float64) for part in (known.scores, known.costs))
        return Predictions(scores, costs, None, known)

    def predict(
        self, prompts: Sequence[str], category: Sequence[object] | None = None, neighbours: bool = False
    ) -> Predictions:
        """Scores and costs of n prompts, at least one; with ``neighbours`` what a policy reads of them too."""
        embedding, codes = self._features(texts_of(prompts, self.card.prompt_from), category)
        with threads_for(len(embedding)):
            return self._model.predict(embedding, codes, neighbours)

    def forecast(self, prompts: Sequence[str], category: Sequence[object] | None = None) -> Forecast:
        """What a policy that looks at rewards knows of n prompts, at least one, before anybody is asked."""
        embedding, codes = self._features(texts_of(prompts, self.card.prompt_from), category)
        with threads_for(len(embedding)):
            found = self._model.predict(embedding, codes, False)
            return Forecast(found.scores, found.costs, *self._model.distribution(embedding, codes))

    def _features(self, prompts: Sequence[str], category: Sequence[object] | None) -> tuple[Vectors, Codes]:
        """Embeddings and codes of n prompts."""
        texts = [whole_text(text) for text in prompts]
        codes = category_codes(self._categories(category, len(texts)), self.card.categories)
        return embed_prompts(texts, self.backbone), codes

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
            raise ErpError(f"category = {shown(category)}: {prompts} prompts have one category each; give a list")
        try:
            return [None if missing(value) else label_of(plain(value)) for value in values]
        except ValueError as error:
            raise ErpError(f"category = {shown(category)}: one {error}; give a text for each prompt, or None") from None

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
        import pandas as pd  # here: a gateway asks without it

        return pd.DataFrame(
            self.decide(texts_of(prompts, self.card.prompt_from), category, 0.0).scores, columns=list(self.members)
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
        import pandas as pd

        prompts = texts_of(prompts, self.card.prompt_from)
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

    def session(self, prompt: Any, category: object = None) -> Session:
        """One prompt, asked by the rewards that come: for a run whose policy looks at rewards.

        Args:
            prompt: a text, or a conversation, asked as the run's ``data.prompt_from`` says.
            category: for routers that read it.

        Returns:
            ``next`` names the member to ask, ``observe(reward)`` says what its answer was worth; until ``next`` is
            None. ``answer`` then says which answer to return.

        Raises:
            ErpError: as ``scores``, or the run's policy looks at no reward.
        """
        if not isinstance(self.policy, SequentialPolicy):
            raise ErpError(
                f"policy = {self.policy.name}: looks at no reward, so there is nothing to observe; runs of "
                "policy=best_route, cascade, cascade_routing or reservation have sessions; train one, or use `route`"
            )
        return Session(self.policy, self.members, self.forecast([prompt], None if category is None else [category]))


def drawn(choice: Choice, prompts: Sequence[str]) -> NDArray[np.int64]:
    """One member for each prompt, by the choice's weights and a number in [0, 1) that the text decides."""
    upto = choice.weights.cumsum(axis=1)
    digests = (hashlib.sha256(whole_text(text).encode()).digest() for text in prompts)
    at = np.array([int.from_bytes(digest[:6], "big") / 2.0**48 for digest in digests])
    drawn: NDArray[np.int64] = (upto <= at[:, None] * upto[:, -1:]).sum(axis=1, dtype=np.int64)
    return drawn


def load(
    run: str | Path, trust: bool = False, weights_dir: str | None = None, revision: str | None = None
) -> TrainedRouter:
    """Open a run folder. No code of the folder runs: tensors and plain values only, classes of ``erp`` only.

    Args:
        run: the folder that ``erp train`` printed, or that ``erp export`` wrote; ``hf://<owner>/<name>`` for what
            ``erp push`` uploaded, fetched once.
        trust: also build classes outside ``erp`` that the folder names; never what the hub gave.
        weights_dir: where the backbone's weights may lie.
        revision: the commit on the hub, in full, where ``run`` does not end in ``@<commit>``.

    Raises:
        ErpError: no finished run there, or its checkpoint cannot be read, or the hub does not give it.
    """
    folder = RunFolder(located(run, revision, trust))
    if (exported := folder.path / TENSORS).exists():
        return TrainedRouter(_opened(exported, run, trust, weights_dir), trust)
    if not (folder.config.exists() or folder.checkpoint.exists()):
        what = "this is no run folder" if folder.path.is_dir() else "there is no such folder"
        raise ErpError(f"run = {run}: {what}; give one that `erp train` printed, or `erp export` wrote")
    if not folder.checkpoint.exists() or not folder.finished:
        raise ErpError(f"run = {run}: the run is not finished; start the same command again, or wait for it")
    opened = _opened(folder.checkpoint, run, trust, weights_dir)
    require_at_hand(run, opened.backbone)
    return TrainedRouter(opened, trust)


def _opened(checkpoint: Path, run: str | Path, trust: bool, weights_dir: str | None) -> Model:
    """What a file holds: by numpy where that is all it takes, else by torch. Raises ErpError."""
    if checkpoint.name == TENSORS and is_light(checkpoint, trust):
        return load_light(checkpoint, trust, weights_dir)
    try:
        from erp.trained.checkpoint import load_bundle  # here: it brings torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ErpError(
            f"run = {run}: needs the package torch, which is not installed; install it, or give what `erp export` "
            f"wrote of a router that needs none: {', '.join(path.split('.')[-2] for path in LIGHT)}"
        ) from None
    return load_bundle(checkpoint, trust, weights_dir)
