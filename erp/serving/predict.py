"""A trained router that many requests ask at once: in a thread of its own, what waits together as one batch."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from erp.decisions.policy import LambdaPolicy, Policy
from erp.serving.decide import Predicted
from erp.trained.router import Predictions, TrainedRouter, drawn
from erp.units import UNITS

MOST = 64
"""Prompts of one batch: whoever comes later waits for at most one of them."""
_log = logging.getLogger("erp.serving")


class Predictor:
    """A trained router, asked prompt by prompt.

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
        self._waiting: list[tuple[str, str | None, asyncio.Future[Predictions | None]]] = []
        self._working: asyncio.Task[None] | None = None

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
            np.nan_to_num(means.numpy(), nan=worst)
            for means, worst in (
                (self.trained.bundle.train_mean_reward, -math.inf),
                (self.trained.bundle.train_mean_cost, 0.0),
            )
        )
        if math.isinf(lambda_):
            worth = -costs
        else:
            worth = rewards - (lambda_ * costs if self.trained.bundle.router.scale == "reward" else 0.0)
        return tuple(self.members[m] for m in np.argsort(-worth, kind="stable"))

    async def ask(self, prompt: str, category: str | None, within_s: float) -> Predictions | None:
        """Scores and costs of one prompt; None where they could not be computed.

        Args:
            prompt: its text.
            category: its own; None where it is unknown.
            within_s: how long they are waited for.

        Raises:
            TimeoutError: they are not there in time.
        """
        future: asyncio.Future[Predictions | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, category, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await asyncio.wait_for(future, within_s)
        finally:  # whoever gave up leaves no prompt behind, however long the batch before takes
            self._waiting = [one for one in self._waiting if one[-1] is not future]

    def weighed(self, found: Predictions, prompt: str, policy: Policy) -> Predicted | None:
        """What a policy makes of one prompt's predictions; None where it cannot, a NaN among them for instance."""
        rewards, costs = (
            dict(zip(self.members, map(float, row[0]), strict=True)) for row in (found.scores, found.costs)
        )
        try:
            choice = policy.choose(found.scores, found.costs, found.neighbours)
        except Exception as error:
            self._failed(error)
            return None
        weights = dict(zip(self.members, map(float, choice.weights[0]), strict=True))
        return Predicted(rewards, costs, weights, self.members[int(drawn(choice, [prompt])[0])])

    def priced(self, lambda_: float) -> Policy:
        """The policy of a lambda per base unit of cost."""
        return LambdaPolicy(lambda_)

    def close(self) -> None:
        """Let the thread end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Batch after batch, until nobody waits. Who has given up is not computed for."""
        while self._waiting:
            batch = [one for one in self._waiting if not one[-1].done()]
            batch, self._waiting = batch[:MOST], batch[MOST:]
            asked = [(prompt, category) for prompt, category, _ in batch]
            rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._rows, asked)
            for (*_, future), row in zip(batch, rows, strict=True):
                if not future.done():
                    future.set_result(row)

    def _rows(self, asked: Sequence[tuple[str, str | None]]) -> list[Predictions | None]:
        """The predictions of each prompt alone, with its category. One that fails does not take its batch with it."""
        if not asked:
            return []
        try:
            prompts, categories = zip(*asked, strict=True)
            found = self.trained.predict(prompts, categories, self.policy.needs_neighbours)
        except Exception as error:  # an encoder may raise anything, and a request has to be answered
            if len(asked) > 1:
                return [row for one in asked for row in self._rows([one])]
            self._failed(error)
            return [None]
        near = found.neighbours
        return [
            Predictions(found.scores[i : i + 1], found.costs[i : i + 1], None if near is None else near[i : i + 1])
            for i in range(len(asked))
        ]

    def _failed(self, error: Exception) -> None:
        self.failed += 1
        _log.warning("no prediction: %s", type(error).__name__)
