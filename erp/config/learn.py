"""The schema of the programs that read a reward table: describe, train, evaluate, route, compare."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from erp.config.nodes import Node, Plug, Pool, RewardModel, SweepName
from erp.config.parts import Bootstrap, Cost, Labels, Split, Target, Tracking, Trainer, Votes


def _names_a_class(value: dict[str, Any]) -> dict[str, Any]:
    if "_target_" not in value:
        raise ValueError(
            "names no class (_target_), and `same` is the table of a run; choose another data=<option>, see --help"
        )
    return value


Table = Annotated[Plug, AfterValidator(_names_a_class)]
"""Where a reward table comes from: a node of an `erp.table.source.TableSource`."""


def _a_number(value: float) -> float:
    if math.isnan(value):
        raise ValueError("must be a number, 0 or more; inf always takes the cheapest member")
    return value


Lambda = Annotated[float, Field(ge=0), AfterValidator(_a_number)]
"""Reward per shown unit of cost; infinity always takes the cheapest member."""


class DescribeConfig(Node):
    """``erp describe``."""

    data: Table
    reward_model: RewardModel = RewardModel()
    pool: Pool = Pool()
    backbone: Plug
    near_duplicates: float | None = Field(0.8, gt=0, le=1)
    bootstrap: Bootstrap = Bootstrap()
    cache_dir: str | None = None
    weights_dir: str | None = None
    output: Literal["text", "json"] = "text"


class ShowConfig(Node):
    """``erp show``."""

    data: Table
    reward_model: RewardModel = RewardModel()
    prompt_id: list[str] | None = Field(None, min_length=1)
    member: list[str] | None = Field(None, min_length=1)
    worst: int | None = Field(None, ge=1)
    best: int | None = Field(None, ge=1)
    prompts: int = Field(3, ge=1)
    samples: int | None = Field(2, ge=1)
    width: int | None = Field(160, ge=1)
    output: Literal["text", "json"] = "text"

    @field_validator("prompt_id", "member", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """A bare one stands for a list of one; an id may look like a number."""
        if value is None:
            return None
        return [str(v) if isinstance(v, int) else v for v in (value if isinstance(value, list) else [value])]

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.worst is not None and self.best is not None:
            raise ValueError("worst and best are both given; give one")
        return self


class TrainConfig(Node):
    """``erp train``: one table, one reward model, one pool, one backbone, one router, one policy."""

    data: Table
    reward_model: RewardModel
    pool: Pool
    backbone: Plug
    router: Plug
    policy: Plug
    cost: Cost
    trainer: Trainer
    tracking: Tracking
    split: Split = Split()
    labels: Labels = Labels()
    votes: Votes = Votes()
    target: Target = Target()
    category: Literal["given", "predicted"] = "given"
    category_block: float = Field(0.0, ge=0, le=1000)
    bootstrap: Bootstrap = Bootstrap()
    same_reward_margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    objective: Literal["utility", "area"] = "utility"
    seed: int = Field(0, ge=0, lt=2**32)
    figures: bool = True
    out: str = "runs"
    cache_dir: str | None = None
    weights_dir: str | None = None
    sweep: SweepName | None = None


class _OfARun(Node):
    """What starts from a run, and reads its table or another one."""

    run: str
    data: Plug

    @property
    def same(self) -> bool:
        """Whether the table is the one that the run was trained on: ``data=same`` names no class."""
        return "_target_" not in self.data


class EvaluateConfig(_OfARun):
    """``erp evaluate``: a trained router on its own or another table, or on a gateway's decision log."""

    backbone: Plug | None = None
    log: str | None = None
    lambda_: Lambda | None = Field(None, alias="lambda")
    reward_model: RewardModel = RewardModel()
    cost: Cost = Cost()
    out: str | None = None
    figures: bool = True
    cache_dir: str | None = None
    weights_dir: str | None = None
    trust: bool = False

    @model_validator(mode="after")
    def _of_log(self) -> Self:
        if self.log is None and self.lambda_ is not None:
            raise ValueError("lambda: is of a gateway's log alone; give log=<folder>, or leave it out")
        if self.log is not None and not self.same:
            raise ValueError("log: is read in place of a table; give data or log, not both")
        if self.log is not None and self.backbone is not None:
            raise ValueError("backbone: is of a table; give backbone or log, not both")
        return self


class ReportConfig(Node):
    """``erp report``: a run's report again, from its numbers."""

    run: str
    out: str | None = None
    figures: bool = True


class RouteConfig(Node):
    """``erp route``: prompts in, the chosen member of each out."""

    run: str
    input: str | None = None
    input_format: Literal["text", "jsonl"] | None = None
    output: Literal["text", "json"] = "text"
    lambda_: Lambda | None = Field(None, alias="lambda")
    batch_size: int = Field(32, ge=1)
    weights_dir: str | None = None
    trust: bool = False


class ExportConfig(Node):
    """``erp export``: a trained router as a folder to share."""

    run: str
    out: str
    weights_dir: str | None = None
    trust: bool = False


class PushConfig(Node):
    """``erp push``: a trained router onto the hub."""

    run: str
    to: str
    private: bool = True
    message: str = Field("A router, by erp push", min_length=1)
    token_env: str = Field("HF_TOKEN", min_length=1)
    weights_dir: str | None = None


class CompareConfig(Node):
    """``erp compare``: several runs side by side, and the differences between them."""

    runs: list[str] = Field([])
    out: str = "runs"
    output: Literal["markdown", "csv", "json", "latex", "html"] = "markdown"
    table: Literal["runs", "contenders", "pairs", "members", "curves"] | None = None
    figures: bool = True
    bootstrap: Bootstrap = Bootstrap()


class ExtendConfig(_OfARun):
    """``erp extend``: one member joins a trained router."""

    member: str | None = None
    labels: int | None = Field(None, ge=2)
    method: Literal["auto", "scratch", "shrunk", "low_rank", "uniroute"] = "auto"
    seed: int = Field(0, ge=0, lt=2**32)
    prices: str | None = None
    active_parameters: float | None = Field(None, gt=0)
    out: str = "runs"
    figures: bool = True
    cache_dir: str | None = None
    weights_dir: str | None = None
    trust: bool = False
