"""The schema every program's config is validated against, and its faults as lines a user can act on."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from erp.errors import ErpError, shorten

Plug = dict[str, Any]  # a node with `_target_`: checked by build.check against the target's own signature


class Node(BaseModel):
    """Base of all config nodes: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Columns(Node):
    """What a file calls our columns; null where it uses our name."""

    prompt: str | None = None
    model: str | None = None
    reward: str | None = None
    prompt_id: str | None = None
    sample: str | None = None
    category: str | None = None
    group: str | None = None
    split: str | None = None
    reference: str | None = None
    prompt_tokens: str | None = None
    completion_tokens: str | None = None
    cost_usd: str | None = None
    n_samples: str | None = None
    reward_model: str | None = None


class TableData(Node):
    """``data=table``: a reward table on disk."""

    kind: Literal["table"]
    path: str
    columns: Columns = Columns()


class SyntheticData(Node):
    """``data=synthetic``: a table drawn from a generator with a known truth."""

    kind: Literal["synthetic"]
    prompts: int = Field(2000, ge=1)
    members: int = Field(5, ge=1, le=16)
    samples: int = Field(4, ge=1)
    seed: int = Field(0, ge=0)
    signal: float = Field(1.0, ge=0)
    hidden: float = Field(0.7, ge=0)
    noise: float = Field(1.5, ge=0)
    spread: float = Field(0.35, ge=0)
    categories: bool = True
    missing: float = Field(0.0, ge=0, lt=1)


class SameData(Node):
    """``data=same``: the table the run was trained on (only in ``erp evaluate``)."""

    kind: Literal["same"]


Data = Annotated[TableData | SyntheticData, Field(discriminator="kind")]
EvaluationData = Annotated[TableData | SyntheticData | SameData, Field(discriminator="kind")]


class RewardModel(Node):
    """Which reward model's scores are the target; null takes the table's only one."""

    name: str | None = None


class Member(Node):
    """One LLM of the pool. Prices in USD per million tokens, parameters in absolute numbers."""

    name: str
    input_usd_per_mtok: float | None = Field(None, ge=0)
    output_usd_per_mtok: float | None = Field(None, ge=0)
    active_parameters: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("has one price; give both input_usd_per_mtok and output_usd_per_mtok, or neither")
        return self


class Pool(Node):
    """Which members of the table are routed among, in this order; null takes all of them."""

    members: list[Member] | None = Field(None, min_length=1)

    @field_validator("members", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """A bare name stands for ``{name: ...}``."""
        return [{"name": m} if isinstance(m, str) else m for m in value] if isinstance(value, list) else value


class Split(Node):
    """Which prompts are train, validation and test (by group, hashed)."""

    by: Literal["group", "prompt", "table"] = "group"
    seed: int = 0
    test: float = Field(0.5, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    overlap: Literal["error", "drop_from_train"] = "error"


class Cost(Node):
    """What a response costs: measured in USD, FLOPs or tokens, or not at all."""

    kind: Literal["auto", "usd", "flops", "tokens", "none"] = "auto"
    prices: str | None = None
    assume_completion_tokens: float | None = Field(None, gt=0)


class Trainer(Node):
    """How routers with a loss are trained; closed-form routers use ``batch_size`` only."""

    max_epochs: int = Field(200, ge=1)
    patience: int = Field(10, ge=1)
    batch_size: int = Field(4096, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    progress: bool = True


class Tracking(Node):
    """Where the copy of a run goes that is compared in a dashboard."""

    mode: Literal["off", "offline", "online"] = "offline"
    project: str = "erp"
    entity: str | None = None
    tags: list[str] = []


class Bootstrap(Node):
    """Paired bootstrap over prompt groups."""

    draws: int = Field(10_000, ge=100)
    seed: int = Field(0, ge=0)
    level: float = Field(0.95, gt=0, lt=1)


class DescribeConfig(Node):
    """``erp describe``."""

    data: Data
    reward_model: RewardModel = RewardModel()
    pool: Pool = Pool()
    output: Literal["text", "json"] = "text"


class TrainConfig(Node):
    """``erp train``: one table, one reward model, one pool, one backbone, one router, one policy."""

    data: Data
    reward_model: RewardModel
    pool: Pool
    backbone: Plug
    router: Plug
    policy: Plug
    cost: Cost
    trainer: Trainer
    tracking: Tracking
    split: Split = Split()
    bootstrap: Bootstrap = Bootstrap()
    objective: Literal["utility", "area"] = "utility"
    seed: int = Field(0, ge=0, lt=2**32)
    out: str = "runs"
    cache_dir: str | None = None
    weights_dir: str | None = None
    sweep: str | None = None


class EvaluateConfig(Node):
    """``erp evaluate``: a trained router on its own or another table."""

    run: str
    data: EvaluationData
    reward_model: RewardModel = RewardModel()
    cost: Cost = Cost()
    cache_dir: str | None = None
    weights_dir: str | None = None
    trust: bool = False


class RouteConfig(Node):
    """``erp route``: prompts in, the chosen member of each out."""

    run: str
    input: str | None = None
    output: Literal["text", "json"] = "text"
    lambda_: float | None = Field(None, alias="lambda", ge=0)
    batch_size: int = Field(32, ge=1)
    weights_dir: str | None = None
    trust: bool = False

    @field_validator("lambda_")
    @classmethod
    def _number(cls, value: float | None) -> float | None:
        if value is not None and math.isnan(value):
            raise ValueError("must be a number, 0 or more; inf always takes the cheapest member")
        return value


class CompareConfig(Node):
    """``erp compare``: several runs in one table and one figure."""

    runs: list[str] = []
    out: str = "runs"
    output: Literal["markdown", "csv", "json"] = "markdown"


PROGRAMS: dict[str, type[Node]] = {
    "describe": DescribeConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "route": RouteConfig,
    "compare": CompareConfig,
}


def validate(program: str, container: Mapping[str, Any]) -> Any:
    """The program's config object. Raises ErpError with one line for every fault."""
    model = PROGRAMS[program]
    required = [f"{key}: is required; give {key}=<value>" for key in _unset(container)]
    try:
        valid = model.model_validate(dict(container))
    except ValidationError as error:
        raise ErpError(*dict.fromkeys([*required, *faults_of(error, model, container)])) from None
    if required:
        raise ErpError(*required)
    return valid


def _unset(node: Any, prefix: str = "") -> list[str]:
    """Keys whose value is Hydra's ``???``: the user has to give them."""
    if isinstance(node, Mapping):
        return [key for name, value in node.items() for key in _unset(value, f"{prefix}.{name}" if prefix else name)]
    return [prefix] if node == "???" else []


def faults_of(error: ValidationError, model: type[BaseModel], given: Any, prefix: str = "") -> list[str]:
    """Each fault as ``key = value: what is allowed; what to do``."""
    lines = []
    for fault in error.errors():
        loc = _without_union_tags(fault["loc"], given)
        key = ".".join([*([prefix] if prefix else []), *map(str, loc)])
        value = fault["input"]
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key} = {value}: there is no such key; {_known_keys(model, given, loc)}")
        elif fault["type"] == "model_type":
            lines.append(f"{key} = {value}: is a group of keys; {_known_keys(model, given, (*loc, ''))}")
        elif fault["type"] == "missing" or value == "???":
            lines.append(f"{key}: is required; give {key}=<value>")
        elif fault["type"].startswith("union_tag"):
            lines.append(f"{key} = {value}: is not one of the options; choose {key}=<option>, see --help")
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:].removeprefix("value error, ")
            lines.append(f"{key} = {value}: {message.removeprefix('value error, ')}")
    return lines


def _without_union_tags(loc: tuple[int | str, ...], given: Any) -> tuple[int | str, ...]:
    """Pydantic names the branch of a union in ``loc``; a user never wrote it, so it is left out."""
    path: list[int | str] = []
    node = given
    for step in loc:
        if isinstance(node, Mapping) and step not in node and node.get("kind") == step:
            continue
        path.append(step)
        if isinstance(node, Mapping):
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
    return tuple(path)


def _known_keys(model: type[BaseModel], given: Any, loc: tuple[int | str, ...]) -> str:
    """What could have stood where an unknown key stands, the nearest spelling first."""
    current: type[BaseModel] | None = model
    node = given
    for step in loc[:-1]:
        node = node.get(step) if isinstance(node, Mapping) else node[step] if isinstance(step, int) else None
        if current is not None and isinstance(step, str):
            current = _model_in(current.model_fields[step].annotation, node) if step in current.model_fields else None
    if current is None:
        return "see --help"
    names = [field.alias or name for name, field in current.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known here: {shorten(names, 20)}"


def _model_in(annotation: Any, node: Any) -> type[BaseModel] | None:
    """The node model inside an annotation: itself, or the one in an optional, list or tagged union that fits."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        if kind is not None and isinstance(node, Mapping) and node.get("kind") not in get_args(kind.annotation):
            return None
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, list, Annotated):
        found = (_model_in(argument, node) for argument in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
