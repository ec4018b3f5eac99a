"""A trained router that many requests ask at once: in a thread of its own, what waits together as one batch."""

from __future__ import annotations

import asyncio
import logging
import math
from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from erp.decisions.policy import LambdaPolicy, Policy
from erp.decisions.sequential.policy import SequentialPolicy
from erp.serving.decide import Predicted
from erp.trained.model import Predictions
from erp.trained.router import TrainedRouter, drawn
from erp.trained.session import Session
from erp.units import UNITS

MOST = 64
"""Prompts of one batch."""
MOST_WAITING = 4096
"""Prompts that wait; of more, the one that has the longest time gives up."""
_BATCH_S = 0.1  # of a batch, as far as can be told: whoever comes later waits for at most one
_RECENT = 0.3  # weight of the last batch in what a prompt takes
_log = logging.getLogger("erp.serving")


@dataclass(order=True)
class _Waiting:
    """A prompt that waits; who has the least time comes first.

    Attributes:
        until: when its answer is of no use any more, by the loop's clock.
        number: of those at the same time, the first to come.
        prompt: its text.
        category: its own; None where it is unknown.
        answer: what is waited for.
    """

    until: float
    number: int
    prompt: str = field(compare=False)
    category: str | None = field(compare=False)
    answer: asyncio.Future[Predictions | None] = field(compare=False)


class Predictor:
    """A trained router, asked prompt by prompt.

    Where more is asked than it can answer, it answers what it can: who would wait for more than half of the time that
    it has is told so at once, and a prompt whose time is over is not computed.

    Args:
        trained: a run.
        lambda_: in place of the run's policy, reward per shown unit of cost; None for the run's policy.

    Attributes:
        members: the pool.
        policy: what decides where a request does not say otherwise.
        failed: predictions that could not be made, so far.
    """

    def __init__(self, trained: TrainedRouter, lambda_: float | None = None) -> None:
        self.trained = trained
        self.members = trained.members
        self.policy = trained.priced(lambda_)
        self.failed = 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="erp-predict")
        self._waiting: list[_Waiting] = []  # sorted
        self._numbers = count()
        self._working: asyncio.Task[None] | None = None
        self._batch: tuple[float, int] | None = None  # when the one that is computed began, and its prompts
        self._each_s = 0.0  # what a prompt takes

    @property
    def lambda_size(self) -> float:
        """Base units of cost in one unit that a lambda is a price of."""
        return UNITS[self.trained.card.cost_kind].size

    @property
    def lambda_(self) -> float:
        """The policy's price, per base unit of cost; 0 where it has none."""
        return self.policy.lambda_ or 0.0

    def constant(self, lambda_: float) -> tuple[str, ...]:
        """All members from the best on, by what they earned and cost in the mean on train.

        Args:
            lambda_: reward per base unit of cost. It weighs rewards only where the router's scores are rewards too.
        """
        rewards, costs = (
            np.nan_to_num(means, nan=worst)
            for means, worst in ((self.trained.mean_reward, -math.inf), (self.trained.mean_cost, 0.0))
        )
        if math.isinf(lambda_):
            worth = -costs
        else:
            worth = rewards - (lambda_ * costs if self.trained.scale == "reward" else 0.0)
        return tuple(self.members[m] for m in np.argsort(-worth, kind="stable"))

    async def ask(self, prompt: str, category: str | None, within_s: float) -> Predictions | None:
        """Scores and costs of one prompt; None where they could not be computed.

        Args:
            prompt: its text.
            category: its own; None where it is unknown.
            within_s: how long they are waited for.

        Raises:
            TimeoutError: they are not there in time, or would not be.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        mine = _Waiting(now + within_s, next(self._numbers), prompt, category, loop.create_future())
        if self._wait_s(bisect_left(self._waiting, mine), now) > within_s / 2:  # a guess, which may be out by as much
            raise TimeoutError
        insort(self._waiting, mine)
        if len(self._waiting) > MOST_WAITING and not (last := self._waiting.pop().answer).done():
            last.set_exception(TimeoutError())
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await asyncio.wait_for(mine.answer, within_s)
        finally:  # whoever gave up leaves no prompt behind, however long the batch before takes
            at = bisect_left(self._waiting, mine)
            if at < len(self._waiting) and self._waiting[at] is mine:
                del self._waiting[at]

    def _wait_s(self, ahead: int, now: float) -> float:
        """Seconds until a prompt is answered that has so many before it; none where it is the only one."""
        if self._batch is None:
            return (ahead + 1) * self._each_s if ahead else 0.0
        began, size = self._batch  # one that takes longer than it should may take as long again
        return max(size * self._each_s, now - began) + (ahead + 1) * self._each_s

    def weighed(self, found: Predictions, prompt: str, policy: Policy) -> Predicted | None:
        """What a policy makes of one prompt's predictions; None where it cannot, a NaN among them for instance."""
        rewards, costs = (
            dict(zip(self.members, map(float, row[0]), strict=True)) for row in (found.scores, found.costs)
        )
        try:
            choice = found.choice(policy)
        except Exception as error:
            self._failed(error)
            return None
        weights = dict(zip(self.members, map(float, choice.weights[0]), strict=True))
        return Predicted(rewards, costs, weights, self.members[int(drawn(choice, [prompt])[0])])

    def session(self, found: Predictions, able: Collection[str]) -> Session | None:
        """One prompt asked by the rewards that come, of the members that are able; None where nobody is to be asked."""
        if not isinstance(self.policy, SequentialPolicy) or found.forecast is None:
            return None
        session = Session(self.policy, self.members, found.forecast, able)
        return None if session.next is None else session

    def priced(self, lambda_: float) -> Policy:
        """The policy of a lambda per base unit of cost."""
        return LambdaPolicy(lambda_)

    def close(self) -> None:
        """Let the thread end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Batch after batch, until nobody waits."""
        loop = asyncio.get_running_loop()
        while batch := self._taken(began := loop.time()):
            self._batch = began, len(batch)
            asked = [(one.prompt, one.category) for one in batch]
            try:
                rows = await loop.run_in_executor(self._executor, self._rows, asked)
            finally:
                self._batch = None
            each_s = (loop.time() - began) / len(batch)
            self._each_s += (_RECENT if self._each_s else 1.0) * (each_s - self._each_s)
            for one, row in zip(batch, rows, strict=True):
                if not one.answer.done():
                    one.answer.set_result(row)

    def _taken(self, now: float) -> list[_Waiting]:
        """The next batch. Whose time is over is left out."""
        waiting = [one for one in self._waiting if one.until > now]
        size = MOST if self._each_s * MOST <= _BATCH_S else max(1, int(_BATCH_S / self._each_s))
        self._waiting = waiting[size:]
        return waiting[:size]

    def _rows(self, asked: Sequence[tuple[str, str | None]]) -> list[Predictions | None]:
        """The predictions of each prompt alone, with its category. One that fails does not take its batch with it."""
        try:
            prompts, categories = zip(*asked, strict=True)
            found = self.trained.read_by(self.policy, prompts, categories)
        except Exception as error:  # an encoder may raise anything, and a request has to be answered
            if len(asked) > 1:
                return [row for one in asked for row in self._rows([one])]
            self._failed(error)
            return [None]
        return [found.at(i) for i in range(len(asked))]

    def _failed(self, error: Exception) -> None:
        self.failed += 1
        _log.warning("no prediction: %s", type(error).__name__)
