"""From a request to a decision: what is asked, who can and may answer, what is predicted, what holds now."""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erp.config.serve import Gateway as Config
from erp.decisions.policy import Policy
from erp.serving.asked import Asked, lacks
from erp.serving.decide import Decision, Moment, Predicted, decide, judged
from erp.serving.predict import Predictor
from erp.serving.refusal import Refusal, unfit
from erp.serving.spend import Spend
from erp.serving.state import State
from erp.serving.wishes import Wishes, wishes
from erp.trained.drift import Measured
from erp.trained.model import Predictions
from erp.trained.session import Session

AUTO = "erp/auto"
"""The model that a request names to be routed."""
_HOUR = 3600.0


@dataclass(frozen=True)
class Served:
    """What a run brings; another run takes its place as a whole.

    Attributes:
        predictor: its router.
        spend: counts at its members' prices.
        drift: what was measured of the encoder it is asked with; None for the run's own.
    """

    predictor: Predictor
    spend: Spend
    drift: Measured | None = None


@dataclass(frozen=True)
class Decided:
    """A request and who is to answer it.

    Attributes:
        id: of the request.
        asked: what it asks.
        decision: who answers.
        predicted: what the router says of its prompt; None where it could not, or was not asked.
        lambda_: reward per base unit of cost that it was decided by.
        lacking: members that cannot answer, and what they lack.
        pin: by what the conversation is remembered.
        served: the run that decided.
        seconds: that the decision took.
        category: of the prompt, as given; None where it is unknown.
        session: says whom to ask by what a judge says of the answers; None where they are not judged.
    """

    id: str
    asked: Asked
    decision: Decision
    predicted: Predicted | None
    lambda_: float
    lacking: Mapping[str, Sequence[str]]
    pin: str
    served: Served
    seconds: float
    category: str | None = None
    session: Session | None = None


class Gateway:
    """Decides requests.

    Args:
        config: who answers, and within what bounds.
        served: the run; may be replaced at any time.
        state: remembers conversations.
        draw: numbers in [0, 1), for exploring.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        served: Served,
        state: State,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.served = served
        self.state = state
        self.draw = draw
        self.clock = clock
        self.endpoints = {endpoint.name: endpoint for endpoint in config.members}

    def wishes(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> Wishes:
        """What a request wishes of this gateway. Raises Refusal."""
        return wishes(headers, body, self.served.predictor.members, self.config.policies)

    async def decide(self, asked: Asked, wish: Wishes, client: str = "") -> Decided:
        """Decide a request that is to be answered.

        Args:
            asked: what it asks.
            wish: what it wishes.
            client: who asks; conversations of two clients are two.

        Raises:
            Refusal: nobody can answer, or nothing may be spent.
        """
        began, now, served = time.perf_counter(), self.clock(), self.served
        pin = f"{client}\n{wish.session if wish.session is not None else asked.conversation}"
        capable, lacking = self._capable(asked, wish, served)
        capped = served.spend.capped(now)
        if capped and (self.config.budget.at_cap == "refuse" or asked.model != AUTO):
            raise Refusal(429, "budget_spent", "the gateway's budget is spent for now", _HOUR - now % _HOUR)
        if asked.model != AUTO:
            decision = Decision(asked.model, "named", (asked.model,), 1.0)
            seconds = time.perf_counter() - began
            return Decided(_new_id(), asked, decision, None, 0.0, lacking, pin, served, seconds, wish.category)
        policy, lambda_ = self._policy(wish, served)
        found, late = await self._found(asked.prompt, wish, served, self.config.decision_ms / 1e3)
        predicted = self._predicted(found, asked.prompt, policy, served)
        known = asked.continues or wish.session is not None
        moment = Moment(
            capable=capable,
            constant=served.predictor.constant(math.inf if capped else lambda_),
            lambda_=lambda_,
            pinned=self.state.pinned(pin, now) if known else None,
            capped=capped,
            explore=self.config.explore,
            draw=(self.draw(), self.draw()),
            late=late,
        )
        decision, session = decide(predicted, moment), None
        if self.config.judge is not None and found is not None and policy is served.predictor.policy:
            session = served.predictor.session(found, capable)
        if session is not None and session.next is not None:
            decision, is_judged = judged(decision, asked, session.next, capable)
            session = session if is_judged else None
        seconds = time.perf_counter() - began
        return Decided(
            _new_id(), asked, decision, predicted, lambda_, lacking, pin, served, seconds, wish.category, session
        )

    async def would(self, asked: Asked, wish: Wishes) -> Decided:
        """What would be decided of a new conversation: nothing is drawn, remembered or held against a budget."""
        began, served = time.perf_counter(), self.served
        capable, lacking = self._capable(asked, wish, served)
        policy, lambda_ = self._policy(wish, served)
        found, late = await self._found(asked.prompt, wish, served, self.config.request_s)
        predicted = self._predicted(found, asked.prompt, policy, served)
        constant = served.predictor.constant(lambda_)
        decision = decide(predicted, Moment(capable, constant, lambda_, late=late))
        seconds = time.perf_counter() - began
        return Decided(_new_id(), asked, decision, predicted, lambda_, lacking, "", served, seconds)

    def _capable(self, asked: Asked, wish: Wishes, served: Served) -> tuple[list[str], dict[str, list[str]]]:
        """Who can and may answer, and what the others lack."""
        members = served.predictor.members
        if asked.model not in (AUTO, *members):
            raise Refusal(404, "model_not_found", f"model: there is none of this name; give {AUTO}, or a member's name")
        allowed = members if wish.members is None else wish.members
        allowed = tuple(name for name in allowed if asked.model in (AUTO, name))
        if not allowed:
            raise unfit(f"x-erp-members: does not name the model that is asked for; give model={AUTO}")
        found = {name: lacks(asked, self.endpoints[name]) for name in allowed}
        lacking = {name: faults for name, faults in found.items() if faults}
        if len(lacking) == len(allowed):
            words = "; ".join(f"{name} lacks {', '.join(faults)}" for name, faults in [*lacking.items()][:10])
            raise Refusal(400, "nobody_capable", f"no member can answer this request: {words}")
        return [name for name in allowed if name not in lacking], lacking

    def _policy(self, wish: Wishes, served: Served) -> tuple[Policy, float]:
        """What decides this request, and its price per base unit of cost."""
        predictor = served.predictor
        if wish.lambda_ is not None:
            price = wish.lambda_ / predictor.lambda_size
        elif self.config.budget.mean_usd is not None:
            price = served.spend.lambda_
        else:
            return predictor.policy, predictor.lambda_
        return predictor.priced(price), price

    async def _found(
        self, prompt: str | None, wish: Wishes, served: Served, within_s: float
    ) -> tuple[Predictions | None, bool]:
        """What is predicted of a prompt, and whether it took too long."""
        if prompt is None:
            return None, False
        try:
            return await served.predictor.ask(prompt, wish.category, within_s), False
        except TimeoutError:
            return None, True

    def _predicted(
        self, found: Predictions | None, prompt: str | None, policy: Policy, served: Served
    ) -> Predicted | None:
        """What a policy makes of it; None where there is nothing to make."""
        return None if found is None or prompt is None else served.predictor.weighed(found, prompt, policy)


def _new_id() -> str:
    return f"erp-{secrets.token_hex(12)}"
