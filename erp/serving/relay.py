"""A request from its decision to the last byte of its answer, and what is written down of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.types import Send

from erp.config.serve import Endpoint
from erp.serving.asked import Kind, UnreadableError, asked, sent_tokens
from erp.serving.door import Call
from erp.serving.edited import edited, values_of
from erp.serving.gateway import Decided, Gateway
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.reading import Reading
from erp.serving.refusal import SCHEMA, Refusal, unfit
from erp.serving.upstream import Begun, BrokenError, Upstreams

_PATHS: Mapping[Kind, str] = {"chat": "chat/completions", "responses": "responses"}
_PASSED = frozenset({"content-type", "content-encoding", "retry-after", "x-request-id"})
_RECENT = 50
_GONE = 499
"""Status in the log of a request whose client went away."""
_log = logging.getLogger("erp.serving")


@dataclass
class Turn:
    """One request on its way, and what is known of it so far.

    Attributes:
        decided: who is to answer.
        began: when its body was whole, by `time.perf_counter`.
        member: who answers; None while nobody does.
        status: of the answer; None before one.
        good: whether a member began to answer, and with no error.
        first_byte: seconds to the first byte of the answer; None before it.
        overhead: seconds to the first call of a member.
        reading: what its answer says of itself.
    """

    decided: Decided
    began: float
    member: str | None = None
    status: int | None = None
    good: bool = False
    first_byte: float | None = None
    overhead: float = 0.0
    reading: Reading = field(default_factory=lambda: Reading(events=False, strip=False))

    @property
    def path(self) -> str:
        """Why this member: the decision's reason, or that another one failed."""
        return self.decided.decision.path if self.member in (None, self.decided.decision.member) else "fallback"

    @property
    def headers(self) -> dict[str, str]:
        """What the head of the answer says of the decision."""
        name = self.member or self.decided.decision.member
        predicted = self.decided.predicted
        found = {
            "x-erp-schema": SCHEMA,
            "x-erp-id": self.decided.id,
            "x-erp-member": quote(name, safe=" !#$&'()*+,/:;=?@[]"),
            "x-erp-path": self.path,
            "x-erp-overhead-ms": f"{self.overhead * 1e3:.3f}",
        }
        if predicted is not None and self.decided.decision.utilities:
            found["x-erp-predicted-reward"] = f"{predicted.rewards[name]:.6g}"
        return found


class Relay:
    """Answers requests by the members' answers.

    Args:
        gateway: decides.
        upstreams: answer.
        log: keeps decisions.
        metrics: count.

    Attributes:
        recent: the last requests, the newest first.
        asked: requests by member, since the start.
    """

    def __init__(self, gateway: Gateway, upstreams: Upstreams, log: DecisionLog, metrics: Metrics) -> None:
        self.gateway, self.upstreams, self.log, self.metrics = gateway, upstreams, log, metrics
        self.recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self.asked: Counter[str] = Counter()
        budget = gateway.config.budget
        # Otherwise nobody needs it, and not every server knows the option.
        self._counts = gateway.config.log.folder is not None or any(
            (budget.mean_usd, budget.usd_per_hour, budget.usd_per_day)
        )

    async def answer(self, call: Call, text: str, body: Mapping[str, Any], kind: Kind, send: Send) -> None:
        """Answer one request; nothing is sent before a member has begun to answer.

        Raises:
            Refusal: nobody can, may, or does.
        """
        began = time.perf_counter()
        try:
            asks = asked(body, kind, self.gateway.served.predictor.trained.card.prompt_from)
        except (UnreadableError, RecursionError) as error:
            raise unfit(str(error) or "the body is nested too deeply") from None
        decided = await self.gateway.decide(asks, self.gateway.wishes(call.headers, body), call.client)
        turn = Turn(decided, began)
        options = body.get("stream_options")
        wanted = isinstance(options, Mapping) and options.get("include_usage") is True
        inject = self._counts and kind == "chat" and asks.stream and not wanted
        started = False
        try:
            async with asyncio.timeout(self.gateway.config.request_s), AsyncExitStack() as stack:
                make = partial(edited, values_of(text), kind=kind, usage=inject)
                turn.overhead = time.perf_counter() - began
                accept = call.headers.get("accept", "*/*")
                order = decided.decision.order
                begun = await self.upstreams.begin(stack, order, _PATHS[kind], make, accept)
                turn.member, turn.status, turn.good = begun.member, begun.status, begun.status < 300
                turn.first_byte = time.perf_counter() - began
                events = begun.headers.get("content-type", "").startswith("text/event-stream")
                turn.reading = Reading(events, strip=inject and events)
                started = True
                await _pass_on(begun, turn, inject, send)
        except TimeoutError:
            if not started:
                turn.status = 504
                raise Refusal(504, "too_slow", "the answer did not begin within the time a request may take") from None
            self._cut(turn, "the time a request may take is over")
        except BrokenError as error:
            self._cut(turn, str(error))
        except Refusal as refusal:
            turn.status = refusal.status
            raise
        except asyncio.CancelledError:
            turn.status = _GONE
            raise
        finally:
            self._written(turn)

    def _cut(self, turn: Turn, why: str) -> None:
        """An answer that had begun is over. Its end is not sent, so that nobody takes it for whole."""
        self.metrics.broken.labels(turn.member or "").inc()
        _log.warning("%s: the answer of %s broke off: %s", turn.decided.id, turn.member, why)

    def _written(self, turn: Turn) -> None:
        """Count a request, remember its conversation, write it down."""
        decided, decision, now = turn.decided, turn.decided.decision, self.gateway.clock()
        usage, member, name = turn.reading.usage, turn.member, turn.member or decision.member
        usd = None
        if member is not None and turn.good:
            usd = _paid(turn, self.gateway.endpoints[member], now)
            self.gateway.state.pin(decided.pin, member, now)
        self.metrics.decisions.labels(name, turn.path).inc()
        self.metrics.overhead.observe(turn.overhead)
        if turn.first_byte is not None:
            self.metrics.first_byte.observe(turn.first_byte)
        if usd:
            self.metrics.usd.labels(member).inc(usd)
        latency = (time.perf_counter() - turn.began) * 1e3
        self.asked[name] += 1
        self.recent.appendleft(
            {"id": decided.id, "time": now, "member": name, "path": turn.path, "status": turn.status, "ms": latency}
        )
        predicted = decided.predicted
        self.log.write(
            {
                "id": decided.id,
                "time": now,
                "prompt": decided.asked.prompt,
                "category": decided.category,
                "rewards": None if predicted is None else predicted.rewards,
                "costs": None if predicted is None else predicted.costs,
                "lambda": decided.lambda_,
                "chosen": decision.member,
                "order": list(decision.order),
                "path": decision.path,
                "propensity": decision.propensity,
                "answered": member,
                "model": turn.reading.model,
                "status": turn.status,
                "prompt_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
                "completion_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
                "cost_usd": usd,
                "latency_ms": latency,
                "first_byte_ms": None if turn.first_byte is None else turn.first_byte * 1e3,
            }
        )


def _paid(turn: Turn, endpoint: Endpoint, now: float) -> float | None:
    """Count what an answer cost; where it does not say what it used, or was cut off before, by its length."""
    spend, reading = turn.decided.served.spend, turn.reading
    usd = spend.record(endpoint.name, reading.usage, now)
    if usd is None:
        by_length = {"prompt_tokens": sent_tokens(turn.decided.asked, endpoint), "completion_tokens": reading.tokens}
        usd = spend.record(endpoint.name, by_length, now)
    return usd


async def _pass_on(begun: Begun, turn: Turn, changed: bool, send: Send) -> None:
    """Send an answer as it comes. Where it breaks off, the end of the message is never sent."""
    kept = _PASSED if changed else _PASSED | {"content-length"}
    raw = [(name.lower(), value) for name, value in begun.headers.raw if name.lower().decode("latin-1") in kept]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in turn.headers.items()]
    await send({"type": "http.response.start", "status": begun.status, "headers": raw})
    async for chunk in begun.rest:
        if passed := turn.reading.feed(chunk):
            await send({"type": "http.response.body", "body": passed, "more_body": True})
    await send({"type": "http.response.body", "body": turn.reading.end(), "more_body": False})
