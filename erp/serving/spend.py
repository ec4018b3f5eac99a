"""What requests cost by their real usage, and a lambda that holds their mean cost over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from erp.config.serve import Budget
from erp.costs.prices import Price
from erp.errors import ErpError
from erp.serving.state import State

_TOKENS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))  # of chat, of responses
_MOST_TOKENS = 1e9  # more than any request has: an upstream that reports more is not believed
_GAIN = 10.0  # how far lambda's level moves while one window costs twice the budget, and nothing is owed
_EVEN = 0.02  # reward per mean cost up to which lambda moves by equal steps, and from which by equal ratios
_MOST_LEVEL = math.log1p(30 / _EVEN)  # 30 rewards for one mean cost: the cheapest member, whatever is predicted


class Spend:
    """Counts spend; holds a mean cost; says when a cap is reached.

    The mean is held by dual ascent: each request moves lambda's level by its cost over the budget, less one, and by
    what is owed of earlier ones, to be paid back within a window. So what is owed stays bounded, and the mean of many
    requests comes to the budget whatever the prompts are, unless even the cheapest members cost more, or the best ones
    less: at most a window's budget is then owed, or saved.

    Args:
        budget: what may be spent.
        lambda_: the run's, in reward per base unit of cost; where the level starts.
        prices: of each member, USD per million tokens; None where nobody knows.
        state: keeps spend, and lambda's level.
        unit: a mean cost in the base units of lambda; None where these are USD.

    Raises:
        ErpError: a budget over members without a price.
    """

    def __init__(
        self,
        budget: Budget,
        lambda_: float,
        prices: Mapping[str, Price | None],
        state: State,
        unit: float | None = None,
    ) -> None:
        unpriced = sorted(name for name, price in prices.items() if price is None)
        given = {key: getattr(budget, key) for key in ("mean_usd", "usd_per_hour", "usd_per_day")}
        if unpriced and (key := next((key for key, usd in given.items() if usd is not None), None)):
            raise ErpError(
                f"gateway.budget.{key} = {given[key]:g}: nobody knows what {', '.join(unpriced)} costs; a budget needs "
                "the price of every member; give input_usd_per_mtok and output_usd_per_mtok in the pool that the run "
                "is trained with, or take the budget out"
            )
        self._budget, self._prices, self._state, self._start = budget, prices, state, lambda_
        self._scale = _EVEN / (unit or budget.mean_usd or 1.0)
        self._name = f"lambda from {lambda_!r} at {budget.mean_usd!r} USD"
        self._level = min(math.log1p(lambda_ / self._scale), _MOST_LEVEL)
        if budget.mean_usd is not None:
            self._level = state.level(self._name, self._level, 0.0, _MOST_LEVEL)

    @property
    def lambda_(self) -> float:
        """Reward per base unit of cost, now."""
        return self._start if self._budget.mean_usd is None else math.expm1(self._level) * self._scale

    def capped(self, now: float) -> bool:
        """Whether a cap of this hour or this day (UTC) is reached; ``now`` in seconds since 1970."""
        caps = (self._budget.usd_per_hour, self._budget.usd_per_day)
        if caps == (None, None):
            return False
        spent = self._state.spent(now)
        return any(cap is not None and usd >= cap for usd, cap in zip(spent, caps, strict=True))

    def cost(self, member: str, usage: Mapping[str, Any]) -> float | None:
        """USD of a request by the ``usage`` of its answer; None where it does not say, or the price is not known."""
        price = self._prices.get(member)
        read, written = (_tokens(usage, keys) for keys in _TOKENS)
        if price is None or read is None or written is None:
            return None
        return (read * price.input_usd_per_mtok + written * price.output_usd_per_mtok) / 1e6

    def record(self, member: str, usage: Mapping[str, Any], now: float) -> float | None:
        """Count a request that was answered; gives what ``cost`` gives."""
        usd = self.cost(member, usage)
        if usd is None:
            return None
        self.add(usd, now)
        if self._budget.mean_usd is not None:
            self._level = self._moved(usd / self._budget.mean_usd - 1)
        return usd

    def add(self, usd: float, now: float) -> None:
        """Count what was paid beside the members, of a judge for instance, against the caps."""
        self._state.add_spend(usd, now)

    def _moved(self, over: float) -> float:
        """Lambda's level after a request that cost ``over`` times the budget more than the budget."""
        window = self._budget.window
        owed = self._state.level(f"owed, {self._name}", window, over, 2 * window) - window
        return self._state.level(self._name, self._level, _GAIN / window * (over + owed / window), _MOST_LEVEL)


def _tokens(usage: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    """A count out of an answer, which may say anything."""
    found = next((usage[key] for key in keys if key in usage), None)
    sound = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < _MOST_TOKENS
    return float(found) if sound and found is not None else None
