"""A judge behind an address: an answer goes there, and comes back as a reward."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx2

from erp.build import build
from erp.collect.rewards.base import Pair
from erp.collect.rewards.judge import Judge as Grader
from erp.config.serve import Judge as Config
from erp.engines.chat_address import address_faults, key_in
from erp.engines.chat_answers import read_completion
from erp.errors import ErpError
from erp.serving.breaker import Breakers
from erp.serving.upstream import client

_NODE = "gateway.judge"
_MOST = 100_000  # bytes of what it says; a reward is a number


class Unjudged(Exception):  # noqa: N818  # the answer in hand is sent
    """The judge gave no reward, in words."""


class Judge:
    """Asks for rewards. One that fails time after time is left alone for a while.

    Args:
        config: where it is.
        breakers: leave it alone.
        noted: is told of every failure.

    Raises:
        ErpError: an address that is none, a key that is not set.
    """

    def __init__(self, config: Config, breakers: Breakers, noted: Callable[[str], None] = lambda _: None) -> None:
        self.config, self._breakers, self._noted = config, breakers, noted
        self._grader, node, self.url, key_env = None, _NODE, config.url or "", config.api_key_env
        if config.reward_model is not None:
            node = f"{_NODE}.reward_model"
            self._grader = build(config.reward_model, Grader, key=node)
            self.url, key_env = f"{self._grader.base_url}/chat/completions", self._grader.api_key_env
        elif faults := address_faults(_NODE, self.url, "url", "/<path>"):
            raise ErpError(*faults)
        self._client = client("", key_in(node, key_env), config.concurrency)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()

    @property
    def rests(self) -> bool:
        """Whether it is left alone now."""
        return self._breakers.open(_NODE)

    async def reward(self, prompt: str, messages: Any, response: str, within_s: float = math.inf) -> float:
        """What a response is worth.

        Args:
            prompt: the text that was asked, as the router reads it.
            messages: all of the conversation, as the client wrote it.
            response: the text of the answer.
            within_s: how long it is waited for at most.

        Raises:
            Unjudged: the judge says nothing in time, or no reward.
        """
        asked: dict[str, Any] = {"prompt": prompt, "messages": messages, "response": response}
        if self._grader is not None:
            asked = self._grader.asks(Pair(prompt, response))
        content = json.dumps(asked).encode()
        self._breakers.asked(_NODE)
        try:
            reward = await self._asked(content, min(self.config.timeout_s, within_s))
        except Unjudged as why:
            self._breakers.failed(_NODE)
            self._noted(str(why))
            raise
        self._breakers.answered(_NODE)
        return reward

    async def _asked(self, content: bytes, within_s: float) -> float:
        headers = {"content-type": "application/json", "accept": "application/json"}
        said = b""
        try:
            async with (
                asyncio.timeout(within_s),
                self._client.stream("POST", self.url, content=content, headers=headers) as answer,
                aclosing(answer.aiter_raw()) as parts,
            ):
                if answer.status_code != 200:
                    raise Unjudged(f"status {answer.status_code}")
                async for part in parts:
                    said += part
                    if len(said) > _MOST:
                        raise Unjudged("an answer without end")
        except TimeoutError:
            raise Unjudged(f"no reward within {within_s:g} s") from None
        except httpx2.HTTPError as error:
            raise Unjudged(type(error).__name__) from None
        return _reward_in(said) if self._grader is None else _grade_in(said, self._grader)


def _reward_in(said: bytes) -> float:
    """The number under ``reward``. Raises Unjudged."""
    try:
        reward = json.loads(said)["reward"]
        sound = isinstance(reward, int | float) and not isinstance(reward, bool) and math.isfinite(reward)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        sound = False
    if not sound:
        raise Unjudged('what it answers is no {"reward": <number>}')
    return float(reward)


def _grade_in(said: bytes, grader: Grader) -> float:
    """The number of an LLM's verdict. Raises Unjudged."""
    try:
        grade = grader.read(read_completion(said).choices[0])
    except ValueError:
        grade = None
    if grade is None:
        raise Unjudged("its verdict has no grade that counts")
    return grade
