"""What a member's own answer tells before anything is decided: its meaning, its length, whether two of them agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import log1p
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, Keeping, Weighted, normalised, trains
from erp.backbones.joined import JoinedBackbone, learns
from erp.errors import ErpError, shorten

if TYPE_CHECKING:
    from erp.table.attempts import Attempt, Attempts

Block = Literal["prompt", "answer", "length", "agreement"]
Float32s = NDArray[np.float32]

BLOCKS: tuple[Block, ...] = ("prompt", "answer", "length", "agreement")
_VERSION = 1  # raise it with any change of what is computed: cached rows would be of the old way
_TOKENS = 4.0  # log(1 + tokens) of an answer of middling length, and as far from it as it is cut off


class AttemptBackbone(Backbone):
    """What one member answered, read before the decision: one of the table's samples of it, or a few.

    Blocks: ``prompt``, its embedding; ``answer``, the mean embedding of the answers; ``length``, log(1 + their mean
    number of tokens), from -1 to 1; ``agreement``, of all pairs of answers the mean cosine and the share whose last
    lines are the same (none for one answer). Tables hold no log-probabilities, so none are read.

    Who trains hands over the answers, and takes these samples out of the table: they are neither learnt from nor
    tested. They are paid for: what answers of the member cost joins the router's own cost per prompt. A member that is
    chosen after its attempt answers anew, and is paid for that too.

    Args:
        member: of the pool, who answers first.
        samples: how many answers of it are read; every prompt needs one more.
        encoder: a backbone as it was released; in a config, its node (``_target_`` and arguments). Of a long answer it
            reads what it reads of a long prompt.
        blocks: which of them, in this order.
    """

    def __init__(
        self,
        member: str,
        encoder: Backbone,
        samples: int = 1,
        blocks: list[Block] = ["prompt", "answer", "length", "agreement"],  # noqa: B006  # a config shows it
    ) -> None:
        if samples < 1:
            raise ErpError(f"backbone.samples = {samples}: give 1 or more")
        if not blocks or len(set(blocks)) < len(blocks):
            raise ErpError(f"backbone.blocks = {list(blocks)}: give one or more of {', '.join(BLOCKS)}, each once")
        if trains(encoder) or learns(encoder) or any(attempts_in(encoder)):
            raise ErpError("backbone.encoder: reads answers as it was released; give one that need not learn (minilm)")
        self.wanted: list[Block] = [name for name in BLOCKS if name in blocks and (name != "agreement" or samples > 1)]
        if not self.wanted:
            raise ErpError("backbone.blocks = ['agreement']: is of two answers; give samples=2, or more blocks")
        self.member, self.samples, self.encoder = member, samples, encoder
        self._attempts: Attempts | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        if isinstance(self.encoder, Weighted):
            self.encoder.look_in(weights_dir)

    def keep_in(self, cache: Path) -> None:
        """Say where the encoder may keep what its vectors are made of."""
        if isinstance(self.encoder, Keeping):
            self.encoder.keep_in(cache)

    def take(self, attempts: Attempts) -> None:
        """The answers that there are, ``samples`` to every prompt."""
        self._attempts = attempts

    def parameters_per_token(self) -> float | None:
        """Of the encoder, where it reads the prompt. What attempts cost is no matter of the prompt's length."""
        return self.encoder.parameters_per_token() if "prompt" in self.wanted else 0.0

    def fingerprint(self) -> str:
        """Who answered, the encoder, the blocks, and the hash of all answers."""
        said = f"{self.member!r} samples={self.samples} {self.wanted} content={self._at_hand().content}"
        return f"{self.kind()} version={_VERSION} {said} ({self.encoder.fingerprint()})"

    def blocks(self) -> dict[str, int]:
        """Numbers of each block, in order."""
        d = sum(self.encoder.blocks().values())
        return {name: {"prompt": d, "answer": d, "length": 1, "agreement": 2}[name] for name in self.wanted}

    def embed(self, prompts: Sequence[str]) -> Float32s:
        """The blocks side by side, (n, d)."""
        said = [self._answers(prompt) for prompt in prompts]
        vectors = normalised(self.encoder.embed([answer.text for answers in said for answer in answers]))
        each = vectors.reshape(len(prompts), self.samples, vectors.shape[1])
        made: dict[Block, Callable[[], Float32s]] = {
            "prompt": lambda: normalised(self.encoder.embed(prompts)),
            "answer": lambda: each.mean(axis=1),
            "length": lambda: np.array([[_length(answers)] for answers in said]).reshape(-1, 1),
            "agreement": lambda: np.array(list(map(_agreement, said, each))).reshape(-1, 2),
        }
        return np.hstack([made[name]() for name in self.wanted]).astype(np.float32)

    def _answers(self, prompt: str) -> tuple[Attempt, ...]:
        answers = self._at_hand().of.get(prompt)
        if answers is None:
            raise ErpError(f"backbone = attempt: {self.member} has answered no prompt that begins with {prompt[:40]!r}")
        return answers

    def _at_hand(self) -> Attempts:
        if self._attempts is None:
            raise ErpError(f"backbone = attempt: reads an answer of {self.member} first, and none is at hand; only "
                           "`erp train` on a table with responses has them")  # fmt: skip
        return self._attempts


def attempts_in(backbone: Backbone) -> Iterator[AttemptBackbone]:
    """The backbone, or the parts of it, that read a member's answers, in their order."""
    if isinstance(backbone, AttemptBackbone):
        yield backbone
    for part in backbone.parts if isinstance(backbone, JoinedBackbone) else ():
        yield from attempts_in(part)


def require_at_hand(run: object, backbone: Backbone) -> None:
    """Refuse a trained run that reads an answer before it decides, where there is none. Raises ErpError."""
    if names := [one.member for one in attempts_in(backbone)]:
        raise ErpError(
            f"run = {run}: its backbone reads an answer of {shorten(names)} before it decides, and before asking there "
            "is none; its report says what that is worth; train a run that reads the prompt alone (backbone=minilm)"
        )


def _length(answers: Sequence[Attempt]) -> float:
    tokens = sum(answer.tokens for answer in answers) / len(answers)
    return float(np.clip((log1p(tokens) - _TOKENS) / _TOKENS, -1, 1))


def _agreement(answers: Sequence[Attempt], vectors: Float32s) -> list[float]:
    """Of all pairs of answers: mean cosine of their vectors (samples, d), and the share with the same last line."""
    pairs = list(combinations(range(len(answers)), 2))
    ends = [_last_line(answer.text) for answer in answers]
    cosine = sum(float(vectors[i] @ vectors[j]) for i, j in pairs)
    return [cosine / len(pairs), sum(ends[i] == ends[j] for i, j in pairs) / len(pairs)]


def _last_line(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")
