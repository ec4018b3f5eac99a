"""What a reward model is: (prompt, response) pairs in, raw scores out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erp.engines.base import Failure
from erp.table.asked import Turn

AT_ONCE = 256  # pairs scored before what came is kept; enough to fill a GPU's batches with pairs of like length


@dataclass(frozen=True)
class Pair:
    """A response to be scored.

    Attributes:
        prompt: what was asked; of a conversation every turn, as ``role: text``.
        reference: what the prompt set gave for verifiers, read from its JSON; None where it gave nothing.
        messages: the conversation that was asked; None where the prompt is all of it.
        rivals: what the member that a reward model compares with answered.
    """

    prompt: str
    response: str
    category: str | None = None
    reference: Mapping[str, Any] | None = None
    messages: tuple[Turn, ...] | None = None
    rivals: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was asked, as a chat template takes it."""
        return self.messages or ({"role": "user", "content": self.prompt},)


class RewardAdapter:
    """Base of all reward models. Construction is cheap; weights are loaded at the first ``score``.

    Attributes:
        higher_is_better: False for costs; the table's reader then negates the scores.
        reads_references: whether a score depends on its pair's reference.
        counts: what happened while scoring and a reader should know: ``truncated``, ``non_finite``, ``unparsable``...
        against: member of the table whose responses all are compared with; None where each is scored alone.
        rivals: how many of them, of every prompt.
        example: text of the last answer in which there was no usable score, from reward models that answer in words.
    """

    higher_is_better: bool = True
    reads_references: bool = True
    against: str | None = None
    rivals: int = 0
    example: str | None = None

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""

    def check(self, prompts: Iterable[Pair]) -> None:
        """Refuse prompts that no response to could ever be scored, before anything is sampled. Responses are empty."""

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """The raw score of each pair, in order.

        Pairs are distinct, and those of one prompt stand together but for a few at first. None is a score that cannot
        be had however often one asks (non-finite, unparsable): a missing cell, counted in ``counts``. A Failure may
        succeed another time.

        Raises:
            ErpError: the reward model cannot be loaded or called at all.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no score")

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, float | Failure | None]]:
        """Position and raw score of each pair, once, as they are had: some at a time, so that little is lost."""
        for start in range(0, len(pairs), AT_ONCE):
            yield from enumerate(self.score(pairs[start : start + AT_ONCE]), start)

    def notes(self, counts: Mapping[str, int], scored: int | None) -> list[str]:  # noqa: ARG002
        """What every reader of the scores must know of all ``counts`` together; ``scored``: texts, None: unknown."""
        return []

    def stop(self) -> bool:
        """Leave what is under way, for good: an ``each`` that is going on gives what has come, and ends.

        May be called by any thread, and where a signal is handled.

        Returns:
            Whether it will. Where not, nothing is done, and who wants an end closes the iterator.
        """
        return False

    def about(self) -> dict[str, Any]:
        """What the manifest says of these scores: model id, revision, dtype, attention implementation."""
        return {}
