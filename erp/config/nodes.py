"""Nodes that both halves share: the pool and the reward model. Collecting uses all of them, learning the facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError


def _name_is_text(value: dict[str, Any]) -> dict[str, Any]:
    if not (isinstance(name := value.get("name", "unnamed"), str) and name.strip()):
        raise ValueError(f"name = {name!r} is no name; give a text for tables and folders to show")
    return value


Plug = Annotated[dict[str, Any], AfterValidator(_name_is_text)]
"""A node with ``_target_``: its arguments are checked by `erp.build` against the target's own signature."""


def _file_name(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", value):
        raise ValueError("names a file; give letters, digits, _ . and - only")
    return value


SweepName = Annotated[str, AfterValidator(_file_name)]


class Numbers(BaseModel):
    """True and False are no numbers, though Python counts with them: a key that takes a number refuses them."""

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, given: Any) -> Any:
        faults = [
            InitErrorDetails(type=_NO_NUMBER, loc=(name,), input=given[name])
            for name, field in ((field.alias or name, field) for name, field in cls.model_fields.items())
            if isinstance(given, Mapping) and isinstance(given.get(name), bool) and _numeric(field.annotation)
        ]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return given


_NO_NUMBER = PydanticCustomError("no_number", "should be a number, and true and false are none; change it")


def _numeric(annotation: Any) -> bool:
    kinds = _kinds(annotation)
    return bool not in kinds and not kinds.isdisjoint({int, float})


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {annotation}.union(*map(_kinds, get_args(annotation))) if get_args(annotation) else {annotation}


class Node(Numbers):
    """Base of all config nodes: unknown keys are errors, values do not change after validation."""

    # Built when it is first used: a program uses one of the schemas.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", defer_build=True)


class RewardModel(Node):
    """Which reward model's scores are the target; null takes the table's only one.

    An option that says how a reward model is called (it has a ``_target_``) is read for its name alone: the scores are
    in the table.
    """

    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value.get("name")} if isinstance(value, Mapping) and "_target_" in value else value


class Decoding(Node):
    """How a response is sampled.

    null leaves a field out of what an engine is asked: the server, or the engine, then does what it does by default.

    Attributes:
        temperature: 0 for the likeliest response; null for models that refuse the field.
        top_p: the likeliest tokens that together have this probability; null for models that refuse the field, or
            refuse it beside a temperature.
        top_k: the likeliest tokens, so many.
        min_p: the tokens at least so likely, relative to the likeliest.
        max_tokens: the longest response; null for no limit but the model's context.
        stop: texts at which a response ends.
    """

    temperature: float | None = Field(1.0, ge=0)
    top_p: float | None = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(1024, ge=1)
    stop: list[Annotated[str, Field(min_length=1)]] = []


class Shot(Node):
    """A worked example that stands before the prompt as a turn of the conversation."""

    user: str
    assistant: str


class Member(Node):
    """One LLM of the pool: a model with its prompt style and decoding.

    Prices in USD per million tokens, parameters in absolute numbers. What learning needs is name, prices and
    parameters; the rest is how its responses are sampled.

    Attributes:
        model: hub id, folder, or what an API calls it; the name where it is left out.
        file: which of the model's files holds the weights, where an engine loads a single one (GGUF).
        chat_template: Jinja text in place of the model's own.
        system: system message; None for no message (a template may then put its own).
        shots: worked examples before the prompt.
        template: what the user's turn says, with ``{prompt}`` in it.
        engine: options of the engine that are other for this member, such as ``{base_url: ...}``.
        resources: what one copy takes on a cluster, e.g. ``{num_gpus: 1}``.
    """

    name: str
    input_usd_per_mtok: float | None = Field(None, ge=0)
    output_usd_per_mtok: float | None = Field(None, ge=0)
    active_parameters: float | None = Field(None, gt=0)
    model: str | None = None
    file: str | None = None
    sha256: str | None = None
    revision: str | None = None
    chat_template: str | None = None
    system: str | None = None
    shots: list[Shot] = []
    template: str = "{prompt}"
    decoding: Decoding = Decoding()
    engine: dict[str, Any] = {}
    resources: dict[str, float] = {}

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("has one price; give both input_usd_per_mtok and output_usd_per_mtok, or neither")
        return self

    @field_validator("template")
    @classmethod
    def _holds_the_prompt(cls, value: str) -> str:
        if value.count("{prompt}") != 1:
            raise ValueError("has to hold {prompt} once, where the prompt goes")
        return value

    @property
    def weights(self) -> str:
        """What an engine loads: members of equal weights differ in style only."""
        return self.model or self.name

    def engine_in(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The engine's node as it is for this member."""
        return {**node, **self.engine}

    def messages(self, asked: str | Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
        """The conversation that is sent: system message, worked examples, the prompt in its template.

        Of a conversation, what the system says there comes before the examples, as in the gateway; the template is for
        its last turn.
        """
        given = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
        leading = next(i for i, turn in enumerate(given) if turn["role"] != "system")
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        shots = [
            {"role": role, "content": text}
            for shot in self.shots
            for role, text in (("user", shot.user), ("assistant", shot.assistant))
        ]
        *earlier, last = given[leading:]
        last = {**last, "content": self.template.replace("{prompt}", last["content"])}
        return (*system, *given[:leading], *shots, *earlier, last)


class Pool(Node):
    """The members, in order; null takes all of a table.

    Attributes:
        decoding: of every member; a member's own keys come before it.
        prices_as_of: the date on which the prices were read, and where.
        complete: auto: members that have no reward of too many prompts are left out, and named.
    """

    members: list[Member] | None = Field(None, min_length=1)
    decoding: Decoding | None = None
    prices_as_of: str | None = None
    complete: Literal["auto"] | None = None

    @field_validator("members", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """A bare name stands for ``{name: ...}``."""
        return [{"name": m} if isinstance(m, str) else m for m in value] if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _shared_decoding(cls, value: Any) -> Any:
        """The pool's decoding becomes every member's, key by key, unless the member says otherwise."""
        if not isinstance(value, Mapping) or not isinstance(value.get("decoding"), Mapping):
            return value
        members = value.get("members")
        if not isinstance(members, list):
            return value

        def complete(member: Any) -> Any:
            member = {"name": member} if isinstance(member, str) else member
            own = member.get("decoding") if isinstance(member, Mapping) else None
            if not isinstance(member, Mapping) or (own is not None and not isinstance(own, Mapping)):
                return member
            return {**member, "decoding": {**value["decoding"], **(own or {})}}

        return {**value, "members": [complete(member) for member in members]}
