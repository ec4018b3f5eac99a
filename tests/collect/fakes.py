"""Parts whose every answer is known: an engine that computes its responses, a reward model that counts letters."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.rewards.judge import Judge
from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Request, Response
from erp.engines.openai import OpenAIEngine


class KnownEngine(Engine):
    """Answers with a hash of what it was asked, and keeps a diary of every request.

    Args:
        diary: file that gets a line for every request.
        seconds: a request takes.
        fail: texts whose prompts fail as long as the file ``mended`` beside the diary is not there.
        die: the process is killed at a text once: the file ``died`` beside the diary says that it was.
        voice: goes into every answer.
        cached: members whose first answer to a prompt is given again.
        says: every answer.
        counts: whether tokens are counted; if not, ``counted`` is what is said instead.
    """

    pace = frozenset(["diary", "seconds", "fail", "die"])

    def __init__(
        self, diary: str, seconds: float = 0.0, fail: list[str] | None = None, die: str | None = None, voice: str = "",
        cached: list[str] | None = None, counts: bool = True, counted: object = None,
        says: str | None = None,
    ) -> None:  # fmt: skip
        self.says = says
        self.cached, self.counts, self.counted = cached or [], counts, counted
        self.diary, self.seconds, self.fail, self.die, self.voice = Path(diary), seconds, fail or [], die, voice

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        asked = enumerate(requests)
        while some := list(islice(asked, 2)):
            for i, request in reversed(some):  # finished in another order than asked
                text = request.messages[-1]["content"]
                with self.diary.open("a") as stream:
                    stream.write(json.dumps([member.name, text, request.seed]) + "\n")
                time.sleep(self.seconds)
                died = self.diary.parent / "died"
                if text == self.die and not died.exists():
                    died.touch()
                    os._exit(137)
                failure = Failure("the server is not well")
                fails = text in self.fail and not (self.diary.parent / "mended").exists()
                again = member.name in self.cached
                for j in request.samples:
                    yield i, j, failure if fails else self._answer(text, member, request.seed + (0 if again else j))

    def _answer(self, text: str, member: Member, seed: int) -> Response:
        said = hashlib.sha256(f"{self.voice}{member.name}|{text}|{seed}".encode()).hexdigest()
        length = 4 + seed % 3
        return Response(
            said[:length] if self.says is None else self.says,
            len(text),
            length if self.counts else self.counted,
            "stop",
        )


class HeavyEngine(KnownEngine):
    """Loads a model before it answers, which the file ``loads`` beside the diary gets a line of; holds one at once."""

    def __init__(self, diary: str, fail: list[str] | None = None) -> None:
        super().__init__(diary, fail=fail)
        self.loaded: str | None = None

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        if self.loaded != member.weights:
            self.loaded = member.weights
            with (self.diary.parent / "loads").open("a") as stream:
                stream.write(json.dumps(self.loaded) + "\n")
        yield from super().generate(requests, member)

    def close(self) -> None:
        self.loaded = None


class MortalEngine(OpenAIEngine):
    """An OpenAI-compatible server, two calls at once; the process is killed once, after some answers.

    Args:
        base_url: of the server.
        died: file that says that it was.
    """

    pace = OpenAIEngine.pace | {"died"}

    def __init__(self, base_url: str, died: str) -> None:
        super().__init__(base_url=base_url, api_key_env="", concurrency=2)
        self.died = Path(died)

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        for count, answer in enumerate(super().generate(requests, member)):
            if count == 4 and not self.died.exists():
                self.died.touch()
                os._exit(137)
            yield answer


class UnhurriedEngine(OpenAIEngine):
    """An OpenAI-compatible server whose answers wait: they are looked at one by one, and not fast."""

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        for answer in super().generate(requests, member):
            time.sleep(0.05)
            yield answer


class UnhurriedJudge(Judge):
    """A judge whose verdicts wait."""

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, float | Failure | None]]:
        for verdict in super().each(pairs):
            time.sleep(0.05)
            yield verdict


class Letters(RewardAdapter):
    """The number of a letter in the response; odd ones have no score.

    Args:
        letter: which.
        diary: file that gets a line for every pair.
    """

    reads_references = False

    def __init__(self, letter: str = "a", diary: str | None = None, broken: bool = False) -> None:
        super().__init__()
        self.letter, self.diary, self.broken = letter, diary, broken

    def about(self) -> dict[str, object]:
        return {"letter": self.letter}

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        if self.diary is not None:
            with Path(self.diary).open("a") as stream:
                stream.writelines(json.dumps([pair.prompt, pair.response]) + "\n" for pair in pairs)
        if self.broken:
            return [Failure("out of reach") for _ in pairs]
        self.counts["scored"] += len(pairs)
        return [float(pair.response.count(self.letter)) for pair in pairs]


class Elsewhere(Letters):
    """Letters that know where they are computed once they have been, as a worker does."""

    device = "where one waits"

    def __init__(self, on: str, letter: str = "a", diary: str | None = None, broken: bool = False) -> None:
        super().__init__(letter, diary, broken)
        self.on = on

    def about(self) -> dict[str, object]:
        return {**super().about(), "device": self.device}

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        self.device = self.on
        return super().score(pairs)
