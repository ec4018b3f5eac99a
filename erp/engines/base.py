"""What an engine is: conversations in, sampled responses out, as they are finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from erp.config import Member

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """A conversation to be answered K times.

    Attributes:
        messages: turns with ``role`` and ``content``.
        seed: of the first sample; sample j is drawn with ``seed + j`` wherever the engine lets every sample have its
            own. The same request with the same seed asks for the same responses.
    """

    messages: tuple[Message, ...]
    seed: int


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
    """Why a request, or a score, was not had. It is recorded and tried again; what succeeded beside it is kept."""

    error: str


class Engine:
    """Base of all engines. Construction is cheap; weights are loaded, or a connection opened, at the first call.

    Attributes:
        pace: constructor arguments that change how fast or where it works, and not what it says. A collection may go on
            with others of these; all else has to stay.
    """

    pace: ClassVar[frozenset[str]] = frozenset()

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""

    def generate(
        self, requests: Sequence[Request], member: Member, k: int
    ) -> Iterator[tuple[int, list[Response] | Failure]]:
        """Sample K responses to each request with the member's weights, chat template and decoding.

        Yields:
            (position in ``requests``, its K responses in order or a Failure), each once, as they are finished.

        Raises:
            ErpError: the member cannot be loaded, or the engine cannot do what it asks; nothing was sampled.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no generate")

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
