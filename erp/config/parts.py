"""The parts of what `erp train` is asked for, some of which other programs share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from erp.config.nodes import Node


class Split(Node):
    """Which prompts are train, validation and test (by group, hashed).

    Attributes:
        near_duplicates: Jaccard similarity from which two prompts are near-duplicates; None: only equal texts are.
        category: with ``by=category``, the one that is left out of training and tested on.
        from: an earlier run's folder: prompts and groups known there keep their part, only new ones are hashed.
    """

    by: Literal["group", "prompt", "table", "category"] = "group"
    seed: int = 0
    test: float = Field(0.5, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    overlap: Literal["error", "drop_from_train"] = "error"
    near_duplicates: float | None = Field(0.8, gt=0, le=1)
    category: str | None = Field(None, validate_default=True, coerce_numbers_to_str=True)
    from_: str | None = Field(None, alias="from")

    @field_validator("category")
    @classmethod
    def _with_by_category(cls, value: str | None, info: ValidationInfo) -> str | None:
        by = info.data.get("by")  # missing where it is a fault itself
        if by == "category" and value is None:
            raise ValueError("split.by = category leaves one category out; say which with split.category=<name>")
        if by not in (None, "category") and value is not None:
            raise ValueError(f"is read with split.by=category only, and split.by is {by}; set it, or leave this out")
        return value

    @field_validator("from_")
    @classmethod
    def _of_hashed_parts(cls, value: str | None, info: ValidationInfo) -> str | None:
        by = info.data.get("by")
        if value is not None and by in ("table", "category"):
            raise ValueError(f"split.by = {by} says itself which prompts are test; allowed are by=group and by=prompt")
        return value


class Cost(Node):
    """What a response costs: measured in USD, FLOPs, tokens or completion tokens alone, or not at all."""

    kind: Literal["auto", "usd", "flops", "tokens", "completion_tokens", "none"] = "auto"
    prices: str | None = None
    assume_completion_tokens: float | None = Field(None, gt=0)
    router_per_prompt: float | None = Field(None, ge=0)
    scoring: float | None = Field(None, ge=0, allow_inf_nan=False)
    predict: bool = False
    head: Literal["linear", "log"] | None = None
    lambda_per: Literal["shown", "base"] = "shown"


class Target(Node):
    """What is predicted of a cell's samples: their mean, a quantile, or the value of the best of n."""

    kind: Literal["mean", "quantile", "best_of_n"] = "mean"
    quantile: float = Field(0.9, gt=0, lt=1)
    n: int = Field(4, ge=1)

    @property
    def responses(self) -> int:
        """How many are paid for."""
        return self.n if self.kind == "best_of_n" else 1

    @property
    def label(self) -> str:
        """What it is, in few words."""
        labels = {"mean": "mean", "quantile": f"{self.quantile:g} quantile", "best_of_n": f"best of {self.n}"}
        return labels[self.kind]


class Labels(Node):
    """How much of the table's labels is learnt from; test keeps all of them."""

    prompts: int | None = Field(None, ge=2)
    samples: int | None = Field(None, ge=1)


class Votes(Node):
    """Which of two members answered better, by prompt: what routers that learn from games read."""

    path: str | None = None
    beside_rewards: bool = False

    @model_validator(mode="after")
    def _of_a_file(self) -> Self:
        if self.beside_rewards and self.path is None:
            raise ValueError("beside_rewards: is read with votes.path only; give a file of votes, or leave it out")
        return self


class Trainer(Node):
    """How routers with a loss are trained; closed-form routers use ``batch_size`` only."""

    max_epochs: int = Field(200, ge=1)
    patience: int = Field(10, ge=1)
    batch_size: int = Field(4096, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    average: float | None = Field(None, gt=0, lt=1)
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    progress: bool = True


class Tracking(Node):
    """Where the copy of a run goes that is compared in a dashboard."""

    mode: Literal["off", "offline", "online"] = "offline"
    project: str = "erp"
    entity: str | None = None
    tags: list[str] = Field([])
    artifacts: bool = True


class Bootstrap(Node):
    """Paired bootstrap over prompt groups."""

    draws: int = Field(10_000, ge=100, le=1_000_000)
    seed: int = Field(0, ge=0)
    level: float = Field(0.95, gt=0, lt=1)
