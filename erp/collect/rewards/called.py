"""What reward models behind a chat address have in common: calls for each pair, and a score read from what comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from erp.collect.rewards.base import Pair, RewardAdapter
from erp.engines.base import Failure
from erp.engines.chat_api import Asks, ChatAPI


class CalledRewardModel(RewardAdapter):
    """Base of reward models that are asked about each pair by itself: a subclass says what, and reads the answer.

    Args:
        api: where they are asked.
    """

    def __init__(self, api: ChatAPI) -> None:
        super().__init__()
        self._api = api

    async def ask(self, post: Asks, pair: Pair) -> Any:
        """What comes of the pair's calls, each by ``post``."""
        raise NotImplementedError(f"{type(self).__name__} defines no ask")

    def read(self, answer: Any) -> float | None:
        """The score in it; None where it gives none that counts."""
        raise NotImplementedError(f"{type(self).__name__} defines no read")

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """The score of each pair, in order; None where no answer counts."""
        scores = dict(self.each(pairs))
        return [scores[index] for index in range(len(pairs))]

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, float | Failure | None]]:
        """Position and score of each pair, as answers come."""
        for index, answer in self._api.each(pairs, self.ask):
            yield index, answer if isinstance(answer, Failure) else self.read(answer)

    def stop(self) -> bool:
        """Leave the calls under way."""
        self._api.stop()
        return True
