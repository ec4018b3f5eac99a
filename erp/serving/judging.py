"""Answers judged before one of them is sent: whom to ask, and when to stop, the run's policy says by their rewards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any

from erp.serving.gateway import Gateway
from erp.serving.judge import Judge, Unjudged
from erp.serving.metrics import Metrics
from erp.serving.reading import Reading, text_of
from erp.serving.refusal import Refusal
from erp.serving.turn import Attempt, Turn
from erp.serving.upstream import Begun, BrokenError
from erp.trained.session import Session

Begin = Callable[[AsyncExitStack, Iterable[str]], Awaitable[Begun]]
"""Asks members in an order until one begins to answer. Raises Refusal."""
_MOST = 8_000_000  # bytes of an answer that is held


class Judging:
    """Asks by rewards. Never worse than no judge: whatever fails, an answer that is in hand is sent.

    Args:
        gateway: whose requests these are.
        judge: scores.
        metrics: count.
    """

    def __init__(self, gateway: Gateway, judge: Judge, metrics: Metrics) -> None:
        self.gateway, self.judge, self.metrics = gateway, judge, metrics

    async def answer(self, turn: Turn, session: Session, begin: Begin, messages: Any, strip: bool) -> Attempt:
        """The answer to send, whole.

        An answer without a reward counts as what was predicted of it, and nobody is asked after it.

        Args:
            turn: the request.
            session: says whom to ask.
            begin: asks.
            messages: of the client.
            strip: take out the event that says what was used.

        Raises:
            Refusal: no member answered.
        """
        held: list[Attempt] = []
        tried: set[str] = set()
        while not held or (session.next is not None and self._may_ask(turn)):
            names = _in_turn(session, [] if held else turn.decided.decision.order, tried)
            try:
                attempt = await self._whole(turn, names, begin, strip, self._left_s(turn) if held else None)
            except (Refusal, TimeoutError):
                if held:
                    break
                raise
            except BrokenError as error:
                turn.cut(self.metrics, str(error))
                attempt = None
            if attempt is not None and not held and (session.next is None or not attempt.is_good):
                turn.path = "fallback" if session.next is None else turn.path
                return attempt  # of somebody whom the policy would not ask, or the request's own fault
            if attempt is None or not attempt.is_good:
                if session.next is not None:
                    session.pass_over()
                continue
            held.append(attempt)
            try:
                attempt.reward = await self._reward(turn, attempt, messages)
                session.observe(attempt.reward)
            except Unjudged:
                turn.path = "unjudged"
                session.observe(turn.predicted(attempt.member))
                break
        return held[session.answer.at]

    def _left_s(self, turn: Turn) -> float:
        """Seconds in which somebody may still be asked."""
        return turn.began + self.judge.config.within_s - time.perf_counter()

    def _may_ask(self, turn: Turn) -> bool:
        """Whether there is time, and money, for another answer."""
        return self._left_s(turn) > 0 and not turn.decided.served.spend.capped(self.gateway.clock())

    async def _whole(
        self, turn: Turn, names: Iterable[str], begin: Begin, strip: bool, within_s: float | None
    ) -> Attempt:
        """The answer of the first of them that answers. Raises Refusal, BrokenError, TimeoutError."""
        async with AsyncExitStack() as stack, asyncio.timeout(within_s):
            begun = await begin(stack, names)
            attempt = Attempt(begun, Reading(begun.streams, strip))
            turn.attempts.append(attempt)
            size = 0
            try:
                async for chunk in begun.rest:
                    size += len(chunk)
                    if size > _MOST:
                        raise BrokenError("it is too long to be held until it is judged")
                    attempt.kept.append(attempt.reading.feed(chunk))
                attempt.kept.append(attempt.reading.end())
            finally:
                turn.pay(attempt, self.gateway.endpoints, self.gateway.clock())
            return attempt

    async def _reward(self, turn: Turn, attempt: Attempt, messages: Any) -> float:
        """What the judge says of an answer. Raises Unjudged."""
        if self.judge.rests or (left_s := self._left_s(turn)) <= 0:
            raise Unjudged("it is not asked")
        try:
            text = text_of(b"".join(attempt.kept), attempt.begun.streams)
        except ValueError:
            raise Unjudged("the answer has no text") from None
        usd = self.judge.config.usd_per_call
        turn.judge_usd += usd
        turn.decided.served.spend.add(usd, self.gateway.clock())
        self.metrics.judge_calls.inc()
        self.metrics.judge_usd.inc(usd)
        return await self.judge.reward(turn.decided.asked.prompt or "", messages, text, left_s)


def _in_turn(session: Session, others: Iterable[str], tried: set[str]) -> Iterator[str]:
    """Whom to ask until one answers: those of the session, then others that were not tried."""
    while (name := session.next) is not None:
        tried.add(name)
        yield name
        session.pass_over()
    for name in others:
        if name not in tried:
            tried.add(name)
            yield name
