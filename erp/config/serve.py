"""The schema of ``erp serve``: a trained router, and the endpoints of its members."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from erp.config.nodes import Node, Plug, Shot


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(
            "is no SHA-256 of a token (64 hexadecimal digits); make one with printf %s <token> | sha256sum"
        )
    return value


Need = Literal["tools", "images", "json_schema"]


class Capable(Node):
    """What a member can do: a request that needs more goes to another one.

    Attributes:
        tools: calls of functions.
        images: parts of a message that are images.
        json_schema: answers that keep to a schema (``response_format``).
        context: tokens of prompt and answer together; null for no limit that is known.
    """

    tools: bool = True
    images: bool = False
    json_schema: bool = True
    context: int | None = Field(None, ge=1)


class Endpoint(Node):
    """A member's place behind the gateway.

    Attributes:
        name: the member, as the run's table calls it.
        base_url: of an OpenAI-compatible server, up to and with ``/v1``.
        api_key_env: environment variable that holds its key; null sends none.
        model: what the server calls it; null for the name.
        system: a system message that goes before the conversation, as when the table was made.
        shots: worked examples before the conversation.
        defaults: fields of the request where the client gives none: temperature, max_tokens (by whichever of its names
            the client or ``/v1/responses`` knows it), ...
        capable: what it can do.
        first_byte_s: longest wait for the answer to begin, before another member is asked.
        between_bytes_s: longest pause within an answer.
        concurrency: requests at once; more wait.
    """

    name: str = Field(min_length=1)
    base_url: str
    api_key_env: str | None = None
    model: str | None = None
    system: str | None = None
    shots: list[Shot] = Field([])
    defaults: dict[str, Any] = Field({})
    capable: Capable = Capable()
    first_byte_s: float = Field(60.0, gt=0)
    between_bytes_s: float = Field(60.0, gt=0)
    concurrency: int = Field(256, ge=1)


class Pins(Node):
    """A conversation stays with its member while it goes on.

    Attributes:
        ttl_s: how long after its last turn; 0 pins none.
        most: conversations that are remembered.
    """

    ttl_s: float = Field(3600.0, ge=0)
    most: int = Field(100_000, ge=1)


class Budget(Node):
    """What may be spent, in USD by real usage.

    Attributes:
        mean_usd: of a request, held over time by a lambda that moves from the run's; null for the run's own policy.
        window: requests over which that mean is held.
        usd_per_hour, usd_per_day: hard caps of an hour and a day of UTC; null for none.
        at_cap: the cheapest member that can, or a 429.
    """

    mean_usd: float | None = Field(None, gt=0, allow_inf_nan=False)
    window: int = Field(1000, ge=10)
    usd_per_hour: float | None = Field(None, gt=0)
    usd_per_day: float | None = Field(None, gt=0)
    at_cap: Literal["cheapest", "refuse"] = "cheapest"


class Log(Node):
    """The decision log: newline-delimited JSON in parts.

    Attributes:
        folder: where it lies; null writes none.
        prompts: whether texts are kept, and not their hash alone.
        part_mb: size at which a new part begins.
    """

    folder: str | None = None
    prompts: bool = False
    part_mb: float = Field(64.0, gt=0, allow_inf_nan=False)


class Judge(Node):
    """What scores answers while others may still be asked, for a run whose policy looks at rewards.

    Attributes:
        url: where ``{"prompt", "messages", "response"}`` is posted, and ``{"reward": <number>}`` answered, in the units
            of the run's rewards; null where ``reward_model`` says who is asked.
        reward_model: an LLM with a rubric, as ``reward_model=judge`` of `erp collect` names one: the same node as when
            the table was scored; null for ``url``.
        api_key_env: environment variable that holds the key of ``url``; null sends none.
        usd_per_call: what one call costs, counted as spend; the policy weighs the run's own ``cost.scoring``.
        timeout_s: longest wait for one reward; an answer without one counts as what was predicted of it, and stands or
            falls by that.
        within_s: how long after the request another member may be asked; then the best answer in hand is sent.
        concurrency: calls at once; more wait.
    """

    url: str | None = None
    reward_model: Plug | None = None
    api_key_env: str | None = None
    usd_per_call: float = Field(0.0, ge=0, allow_inf_nan=False)
    timeout_s: float = Field(10.0, gt=0)
    within_s: float = Field(60.0, gt=0)
    concurrency: int = Field(64, ge=1)

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.reward_model is None):
            raise ValueError("gateway.judge: is asked at one address; give url, or reward_model, and not both")
        return self


class Gateway(Node):
    """Who answers, who may ask, and within what bounds.

    Attributes:
        members: an endpoint for every member of the run.
        tokens: SHA-256 of the bearer tokens that clients may give; none for an open gateway.
        policies: what ``x-erp-policy`` may ask for besides the run's own: ``lambda`` allows ``x-erp-lambda`` too.
        decision_ms: how long a decision may take before the best constant answers.
        explore: share of requests that go to a member drawn at random.
        body_mb: the largest request.
        request_s: the longest a request may take, from its first byte to its last.
        retries: further members that are asked where one fails before its first byte.
        backoff_s: wait before the first of them; doubled at each further one.
        breaker_failures: failures in a row after which a member is left alone.
        breaker_s: for how long.
        page: whether ``/`` shows a page to try prompts on.
        state: file of pins and spend, shared by workers and kept over a restart; null keeps both in memory.
    """

    members: list[Endpoint] = Field(min_length=1)
    tokens: list[Annotated[str, AfterValidator(_digest)]] = Field([])
    policies: list[Literal["lambda"]] = Field([])
    decision_ms: float = Field(500.0, gt=0)
    explore: float = Field(0.0, ge=0, le=1)
    body_mb: float = Field(10.0, gt=0, allow_inf_nan=False)
    request_s: float = Field(600.0, gt=0)
    retries: int = Field(2, ge=0)
    backoff_s: float = Field(0.25, ge=0)
    breaker_failures: int = Field(5, ge=1)
    breaker_s: float = Field(30.0, ge=0)
    page: bool = True
    state: str | None = None
    pins: Pins = Pins()
    budget: Budget = Budget()
    log: Log = Log()
    judge: Judge | None = None

    @model_validator(mode="after")
    def _within_the_request(self) -> Self:
        if self.judge is not None and self.judge.within_s > self.request_s:
            raise ValueError(
                f"gateway.judge.within_s = {self.judge.within_s:g}: is longer than a request may take "
                f"(gateway.request_s = {self.request_s:g}); lower it"
            )
        return self

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [member.name for member in self.members]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"gateway.members names {', '.join(twice)} twice; each member has one endpoint")
        return self


class ServeConfig(Node):
    """``erp serve``: a gateway in front of the members."""

    run: str
    gateway: Gateway
    backbone: Plug | None = None
    lambda_: float | None = Field(None, alias="lambda", ge=0)
    host: str = "127.0.0.1"
    port: int = Field(8400, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    check: bool = False
    weights_dir: str | None = None
    trust: bool = False

    @model_validator(mode="after")
    def _price(self) -> Self:
        if self.lambda_ is not None and math.isnan(self.lambda_):
            raise ValueError("lambda: is not a number; give 0 or more, inf always takes the cheapest member")
        return self
