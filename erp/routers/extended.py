"""Extended: a trained router and one member more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.cluster_mean import nearest_center
from erp.routers.extension import METHODS, ClusterHead, Head


class Extended(Router):
    """The base router's scores, and in a last column those of a member that joined it; ``erp extend`` makes them.

    The base keeps its parameters bit for bit: the member has a head of its own (`erp.routers.extension`), which reads
    the embedding and the base's scores. A router that was extended can be extended again.

    Args:
        base: the router that was trained.
        member: name of the member that joined.
        method: how its head was asked for; which one it is, `joined` says.
        labels: prompts it was learnt from.
        seed: which prompts those are.
        run: name of the run that was extended.

    Raises:
        ErpError: fewer than two labels.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    mix: Tensor
    weight: Tensor
    intercept: Tensor
    centers: Tensor
    means: Tensor
    kind: Tensor
    alpha: Tensor

    def __init__(
        self,
        base: Router,
        member: str,
        method: Literal["auto", "scratch", "shrunk", "low_rank", "uniroute"],
        labels: int,
        seed: int = 0,
        run: str = "",
    ) -> None:
        super().__init__()
        if labels < 2:
            raise ErpError(f"router.labels = {labels}: give 2 or more")
        self.base = base
        self.member, self.method, self.labels, self.seed, self.run = member, method, labels, seed, run
        self.register_buffer("mix", torch.empty(0, dtype=torch.float64))  # (M,)
        self.register_buffer("weight", torch.empty(0, dtype=torch.float64))  # (d,)
        self.register_buffer("intercept", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("centers", torch.empty(0, 0, dtype=torch.float64))  # (clusters, d), of UniRoute
        self.register_buffer("means", torch.empty(0, dtype=torch.float64))  # (clusters,)
        self.register_buffer("kind", torch.tensor(-1))  # position in METHODS
        self.register_buffer("alpha", torch.tensor(torch.nan, dtype=torch.float64))  # kappa, of UniRoute

    @property
    def reads_category(self) -> bool:  # type: ignore[override]
        """Whether the base does."""
        return self.base.reads_category

    def prepare(self, dimensions: Dimensions) -> None:
        """Prepare the base for the members that it has."""
        self.base.prepare(replace(dimensions, members=dimensions.members - 1))

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M + 1) float64; the first M columns are the base's."""
        others = self.base.scores(features).to(torch.float64)
        if len(self.means):
            joined = self.means[nearest_center(features.embedding, self.centers)]
        else:
            joined = others @ self.mix + features.embedding.to(torch.float64) @ self.weight + self.intercept
        return torch.cat([others, joined[:, None]], dim=1)

    def take(self, head: Head | ClusterHead) -> None:
        """Give the member its head."""
        self.kind = torch.tensor(METHODS.index(head.method))
        if isinstance(head, ClusterHead):
            self.centers, self.means = head.centers.clone(), torch.from_numpy(head.means)
            self.alpha = torch.tensor(head.kappa, dtype=torch.float64)
            return
        self.mix, self.weight = torch.from_numpy(head.mix), torch.from_numpy(head.weight)
        self.intercept = torch.tensor(head.intercept, dtype=torch.float64)
        self.alpha = torch.tensor(head.alpha, dtype=torch.float64)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Refused: what was trained is the base."""
        del train, validation
        raise ErpError(
            f"router = {self.member}: an extended router is not trained; train the run {self.run}, then erp extend it"
        )

    def chosen(self) -> dict[str, Any]:
        """What the base chose on validation."""
        return self.base.chosen()

    def joined(self) -> dict[str, float | str]:
        """How the member joined: the method, and what its labels chose."""
        found: dict[str, float | str] = {"method": METHODS[int(self.kind)]}
        if len(self.means):
            return found | {"clusters": float(len(self.means)), "kappa": float(self.alpha)}
        return found | {"alpha": float(self.alpha)}
