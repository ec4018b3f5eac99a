"""What an engine is: conversations in, sampled responses out, each as it is finished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from erp.config import Member

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """A conversation to be answered several times.

    Attributes:
        messages: turns with ``role`` and ``content``.
        seed: of sample 0; sample j is drawn with ``seed + j`` wherever the engine lets every sample have its own. The
            same request with the same seed asks for the same responses.
        samples: numbers of those that are wanted, rising.
    """

    messages: tuple[Message, ...]
    seed: int
    samples: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Response:
    """One sampled response.

    Attributes:
        text: what was said, special tokens left out.
        prompt_tokens: length of the request, chat template included.
        completion_tokens: tokens that were generated, an end-of-turn token included where the engine counts it.
        finish_reason: ``stop`` or ``length``, or what an API says beside these.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None


@dataclass(frozen=True)
class Failure:
    """Why a response, or a score, was not had. It is recorded; what succeeded beside it is kept.

    Attributes:
        error: in words.
        final: whether another attempt would be told the same: then none is made unless it is asked for.
    """

    error: str
    final: bool = False


Answer = tuple[int, int, Response | Failure]  # position of the request, number of the sample, what came


class Engine:
    """Base of all engines. Construction is cheap; weights are loaded, or a connection opened, at the first call.

    Attributes:
        pace: constructor arguments that change how fast or where it works, and not what it says. A collection may go on
            with others of these; all else has to stay.
    """

    pace: ClassVar[frozenset[str]] = frozenset()

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""

    def ready(self, members: Sequence[Member]) -> list[str]:  # noqa: ARG002
        """Look, before the first request, whether these members can be asked; what is odd, a line each.

        Raises:
            ErpError: they cannot.
        """
        return []

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """Sample responses to each request with the member's weights, chat template and decoding.

        Args:
            requests: taken as there is room for them, perhaps from another thread: they may be too many to hold.
            member: whose responses.

        Yields:
            (position in ``requests``, number of the sample, the response or a Failure), each once, as it is finished.

        Raises:
            ErpError: the member cannot be loaded, or the engine cannot do what it asks, or not any longer.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no generate")

    def stop(self) -> bool:
        """Leave what is under way, for good: a ``generate`` that is going on gives what has come, and ends.

        May be called by any thread, and where a signal is handled.

        Returns:
            Whether it will. Where not, nothing is done, and who wants an end closes the iterator.
        """
        return False

    def close(self) -> None:
        """Give back memory and connections; the next call opens them again."""


@runtime_checkable
class NextToken(Protocol):
    """An engine that tells how likely a model is to go on with one word or another."""

    def log_odds(
        self, prefix: tuple[Message, ...], endings: Sequence[str], member: Member, yes: Sequence[str], no: Sequence[str]
    ) -> list[float | Failure]:
        """Log-odds of the answer being one of ``yes`` against one of ``no``, for several endings of one last turn.

        The conversation is ``prefix`` whose last (user) turn goes on with the ending; the model's next turn opens, and
        its first token is looked at. What the endings share is computed once.

        Returns:
            log P(first token in yes) - log P(first token in no), by ending. Words of several tokens stand for their
            first one.
        """


def consecutive(samples: Sequence[int], at_most: int) -> Iterator[Sequence[int]]:
    """Split numbers that rise into runs without a gap, for engines that count seeds up by themselves."""
    start = 0
    for at in range(1, len(samples) + 1):
        if at == len(samples) or samples[at] != samples[at - 1] + 1 or at - start == at_most:
            yield samples[start:at]
            start = at
