"""One request on its way: whose answers were asked for, which one is sent, and what is known of it so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from erp.config.serve import Endpoint
from erp.serving.asked import sent_tokens
from erp.serving.gateway import Decided
from erp.serving.metrics import Metrics
from erp.serving.reading import Reading
from erp.serving.refusal import SCHEMA
from erp.serving.upstream import Begun

_log = logging.getLogger("erp.serving")
_NOTHING = dict.fromkeys(("model", "prompt_tokens", "completion_tokens", "cost_usd"))


@dataclass
class Attempt:
    """One member's answer.

    Attributes:
        begun: its beginning.
        reading: what it says of itself.
        kept: its bytes, where it is held until it is chosen.
        reward: what a judge gave it; None for none.
        usd: what it cost; None where that is not known.
        is_paid: whether that was counted.
    """

    begun: Begun
    reading: Reading
    kept: list[bytes] = field(default_factory=list)
    reward: float | None = None
    usd: float | None = None
    is_paid: bool = False

    @property
    def member(self) -> str:
        """Whose."""
        return self.begun.member

    @property
    def is_good(self) -> bool:
        """Whether it is no error."""
        return self.begun.status < 300

    @property
    def told(self) -> dict[str, Any]:
        """What the log has of it."""
        usage = self.reading.usage
        return {
            "model": self.reading.model,
            "prompt_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
            "completion_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
            "cost_usd": self.usd,
        }


@dataclass
class Turn:
    """One request, and what is known of it so far.

    Attributes:
        decided: who is to answer.
        began: when its body was whole, by `time.perf_counter`.
        path: why this member; the decision's reason until another one answers.
        attempts: answers that began, in order.
        sent: the one that the client gets; None before it is known.
        status: of the answer; None before one.
        first_byte: seconds to the first byte of the answer; None before it.
        overhead: seconds to the first call of a member.
        judge_usd: what a judge of its answers cost.
    """

    decided: Decided
    began: float
    path: str
    attempts: list[Attempt] = field(default_factory=list)
    sent: Attempt | None = None
    status: int | None = None
    first_byte: float | None = None
    overhead: float = 0.0
    judge_usd: float = 0.0

    @property
    def member(self) -> str:
        """Who answers, or was to."""
        return self.decided.decision.member if self.sent is None else self.sent.member

    @property
    def headers(self) -> dict[str, str]:
        """What the head of the answer says of the decision."""
        predicted = self.decided.predicted
        found = {
            "x-erp-schema": SCHEMA,
            "x-erp-id": self.decided.id,
            "x-erp-member": _quoted(self.member),
            "x-erp-path": self.path,
            "x-erp-overhead-ms": f"{self.overhead * 1e3:.3f}",
        }
        if predicted is not None and self.decided.decision.utilities:
            found["x-erp-predicted-reward"] = f"{predicted.rewards[self.member]:.6g}"
        if self.decided.session is not None and self.attempts:
            found["x-erp-asked"] = ",".join(_quoted(attempt.member, comma="") for attempt in self.attempts)
        return found

    def predicted(self, member: str) -> float:
        """What was predicted of a member's answer."""
        assert self.decided.predicted is not None  # whose answers are judged is chosen by it
        return self.decided.predicted.rewards[member]

    def cut(self, metrics: Metrics, why: str) -> None:
        """The last answer broke off."""
        member = self.attempts[-1].member
        metrics.broken.labels(member).inc()
        _log.warning("%s: the answer of %s broke off: %s", self.decided.id, member, why)

    def send(self, attempt: Attempt) -> None:
        """This is the answer that the client gets."""
        self.sent, self.status = attempt, attempt.begun.status
        self.first_byte = time.perf_counter() - self.began

    def pay(self, attempt: Attempt, endpoints: Mapping[str, Endpoint], now: float) -> None:
        """Count what an answer cost, once; where it does not say what it used, or was cut off before, by its length."""
        if attempt.is_paid or not attempt.is_good:
            return
        attempt.is_paid = True
        spend, reading = self.decided.served.spend, attempt.reading
        attempt.usd = spend.record(attempt.member, reading.usage, now)
        if attempt.usd is None:
            read = sent_tokens(self.decided.asked, endpoints[attempt.member])
            by_length = {"prompt_tokens": read, "completion_tokens": reading.tokens}
            attempt.usd = spend.record(attempt.member, by_length, now)

    def record(self, now: float) -> Mapping[str, Any]:
        """What the decision log has of it."""
        decided, decision, predicted = self.decided, self.decided.decision, self.decided.predicted
        judged: dict[str, Any] = {}
        if decided.session is not None:
            answers = [{"member": one.member, "reward": one.reward, **one.told} for one in self.attempts]
            # What is sent was chosen by its reward: with which probability, nobody knows.
            judged = {"asked": answers, "judge_usd": self.judge_usd, "propensity": None}
        return {
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
            "answered": None if self.sent is None else self.sent.member,
            "status": self.status,
            **(_NOTHING if self.sent is None else self.sent.told),
            "latency_ms": (time.perf_counter() - self.began) * 1e3,
            "first_byte_ms": None if self.first_byte is None else self.first_byte * 1e3,
            **judged,
        }


def _quoted(name: str, comma: str = ",") -> str:
    """A member's name in a header; of several, a comma within a name is not the one between two."""
    return quote(name, safe=f" !#$&'()*+/:;=?@[]{comma}")
