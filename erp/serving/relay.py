"""A request from its decision to the last byte of its answer, and what is written down of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from starlette.types import Send

from erp.serving.asked import Asked, Kind, UnreadableError, asked
from erp.serving.door import Call
from erp.serving.edited import edited, values_of
from erp.serving.gateway import Gateway
from erp.serving.judge import Judge
from erp.serving.judging import Begin, Judging
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.reading import Reading
from erp.serving.refusal import Refusal, unfit
from erp.serving.turn import Attempt, Turn
from erp.serving.upstream import BrokenError, Upstreams

_PATHS: Mapping[Kind, str] = {"chat": "chat/completions", "responses": "responses"}
_PASSED = frozenset({"content-type", "content-encoding", "retry-after", "x-request-id"})
_RECENT = 50
_GONE = 499
"""Status in the log of a request whose client went away."""


class Relay:
    """Answers requests by the members' answers.

    Args:
        gateway: decides.
        upstreams: answer.
        log: keeps decisions.
        metrics: count.
        judge: scores answers, for a run whose policy looks at rewards; None for none.

    Attributes:
        recent: the last requests, the newest first.
        asked: requests by member, since the start.
    """

    def __init__(
        self,
        gateway: Gateway,
        upstreams: Upstreams,
        log: DecisionLog,
        metrics: Metrics,
        judge: Judge | None = None,
    ) -> None:
        self.gateway, self.upstreams, self.log, self.metrics = gateway, upstreams, log, metrics
        self.judging = None if judge is None else Judging(gateway, judge, metrics)
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
        asks = self._asked(body, kind)
        decided = await self.gateway.decide(asks, self.gateway.wishes(call.headers, body), call.client)
        turn = Turn(decided, began, decided.decision.path)
        inject = self._counts and kind == "chat" and asks.stream and not _wants_usage(body)
        make = partial(edited, values_of(text), kind=kind, usage=inject)
        accept = call.headers.get("accept", "*/*")

        try:
            async with asyncio.timeout(self.gateway.config.request_s), AsyncExitStack() as stack:
                turn.overhead = time.perf_counter() - began
                begin = partial(self.upstreams.begin, path=_PATHS[kind], body=make, accept=accept)
                parts = await self._chosen(stack, turn, begin, body, inject)
                await _pass_on(turn, parts, inject, send)
        except TimeoutError:
            if turn.sent is None:
                turn.status = 504
                raise Refusal(504, "too_slow", "the answer did not begin within the time a request may take") from None
            turn.cut(self.metrics, "the time a request may take is over")
        except BrokenError as error:
            turn.cut(self.metrics, str(error))  # its end is not sent, so that nobody takes it for whole
        except Refusal as refusal:
            turn.status = refusal.status
            raise
        except asyncio.CancelledError:
            turn.status = _GONE
            raise
        finally:
            self._written(turn)

    def _asked(self, body: Mapping[str, Any], kind: Kind) -> Asked:
        """What a body asks. Raises Refusal."""
        try:
            return asked(body, kind, self.gateway.served.predictor.trained.card.prompt_from)
        except (UnreadableError, RecursionError) as error:
            raise unfit(str(error) or "the body is nested too deeply") from None

    async def _chosen(
        self, stack: AsyncExitStack, turn: Turn, begin: Begin, body: Mapping[str, Any], strip: bool
    ) -> AsyncIterator[bytes]:
        """The answer to send, as it comes or as it was held. Raises Refusal."""
        session, decision = turn.decided.session, turn.decided.decision
        if session is not None and self.judging is not None and not self.judging.judge.rests:
            attempt = await self.judging.answer(turn, session, begin, body["messages"], strip)
            turn.send(attempt)
            return _held(attempt)
        begun = await begin(stack, decision.order)
        attempt = Attempt(begun, Reading(begun.streams, strip))
        turn.attempts.append(attempt)
        if begun.member != decision.member:
            turn.path = "fallback"
        elif session is not None:
            turn.path = "unjudged"
        turn.send(attempt)
        return _passing(attempt)

    def _written(self, turn: Turn) -> None:
        """Count a request, remember its conversation, write it down."""
        decided, now, name = turn.decided, self.gateway.clock(), turn.member
        for attempt in turn.attempts:
            turn.pay(attempt, self.gateway.endpoints, now)
            if attempt.usd:
                self.metrics.usd.labels(attempt.member).inc(attempt.usd)
        if turn.sent is not None and turn.sent.is_good:
            self.gateway.state.pin(decided.pin, name, now)
        self.metrics.decisions.labels(name, turn.path).inc()
        self.metrics.overhead.observe(turn.overhead)
        if turn.first_byte is not None:
            self.metrics.first_byte.observe(turn.first_byte)
        if decided.session is not None:
            self.metrics.asked.observe(len(turn.attempts))
        record = turn.record(now)
        self.asked[name] += 1
        self.recent.appendleft(
            {"id": decided.id, "time": now, "member": name, "path": turn.path, "status": turn.status,
             "ms": record["latency_ms"]}
        )  # fmt: skip
        self.log.write(record)


def _wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client itself asks a stream for its usage."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


async def _held(attempt: Attempt) -> AsyncIterator[bytes]:
    """The bytes of an answer that was read before."""
    yield b"".join(attempt.kept)


async def _passing(attempt: Attempt) -> AsyncIterator[bytes]:
    """The bytes of an answer as they come. Raises BrokenError."""
    async for chunk in attempt.begun.rest:
        yield attempt.reading.feed(chunk)
    yield attempt.reading.end()


async def _pass_on(turn: Turn, parts: AsyncIterator[bytes], changed: bool, send: Send) -> None:
    """Send an answer. Where it breaks off, the end of the message is never sent."""
    assert turn.sent is not None
    begun, kept = turn.sent.begun, _PASSED if changed else _PASSED | {"content-length"}
    raw = [(name.lower(), value) for name, value in begun.headers.raw if name.lower().decode("latin-1") in kept]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in turn.headers.items()]
    await send({"type": "http.response.start", "status": begun.status, "headers": raw})
    async for part in parts:
        if part:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
