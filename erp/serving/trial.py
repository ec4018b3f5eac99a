"""Every endpoint asked for a word, before anybody depends on it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from erp.config.serve import Endpoint, Gateway
from erp.engines.chat_answers import message_in
from erp.errors import one_line
from erp.serving.breaker import Breakers
from erp.serving.edited import edited, values_of
from erp.serving.judge import Judge, Unjudged
from erp.serving.reading import Reading
from erp.serving.refusal import Refusal
from erp.serving.upstream import BrokenError, Upstreams

_ASKED = json.dumps({"model": "", "messages": [{"role": "user", "content": "Say ok."}]})
_MOST = 1_000_000


@dataclass(frozen=True)
class Trial:
    """What became of one endpoint.

    Attributes:
        member, address: which.
        seconds: until its answer was over.
        model: who answered, as it says; of the judge its reward.
        fault: an error line; None where it answered.
    """

    member: str
    address: str
    seconds: float
    model: str | None
    fault: str | None


async def tried(gateway: Gateway) -> list[Trial]:
    """Ask all of them at once, the judge too. Raises ErpError where a key or an address is none."""
    upstreams = Upstreams(gateway.model_copy(update={"retries": 0}), Breakers(1, 0.0), lambda *_: None)
    judge = None if gateway.judge is None else Judge(gateway.judge, Breakers(1, 0.0))
    try:
        trials = [_tried(upstreams, i, one) for i, one in enumerate(gateway.members)]
        return await asyncio.gather(*trials, *([] if judge is None else [_judged(judge)]))
    finally:
        await upstreams.close()
        if judge is not None:
            await judge.close()


def as_text(trials: Sequence[Trial]) -> str:
    """A table, a line for each endpoint."""
    rows = [("member", "address", "answer")]
    for trial in trials:
        said = f"ok, {trial.seconds:.2f} s, {one_line(trial.model or 'no model named')}"
        rows.append((one_line(trial.member), trial.address, said if trial.fault is None else "failed"))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{member:<{widths[0]}}  {address:<{widths[1]}}  {said}" for member, address, said in rows)


async def _judged(judge: Judge) -> Trial:
    """A word scored."""
    began, said, fault = time.perf_counter(), None, None
    try:
        said = f"reward {await judge.reward('Say ok.', json.loads(_ASKED)['messages'], 'ok'):g}"
    except Unjudged as error:
        fault = f"gateway.judge = {judge.url}: {error}; see to its address, key and model"
    return Trial("(judge)", judge.url, time.perf_counter() - began, said, fault)


async def _tried(upstreams: Upstreams, number: int, endpoint: Endpoint) -> Trial:
    began = time.perf_counter()
    reading, content, fault = Reading(events=False, strip=False), b"", None
    make = partial(edited, values_of(_ASKED), kind="chat", usage=False)
    try:
        async with AsyncExitStack() as stack:
            begun = await upstreams.begin(stack, [endpoint.name], "chat/completions", make, "application/json")
            async for chunk in begun.rest:
                content += reading.feed(chunk)
                if len(content) > _MOST:
                    break
        reading.end()
        if begun.status >= 300:
            fault = f"status {begun.status}, {message_in(content)[:200]}"
        elif '"choices"' not in content.decode("utf-8", "replace"):
            fault = "what it answers is no chat completion"
    except Refusal as refusal:
        fault = refusal.message.rpartition(f"{endpoint.name}: ")[2]
    except BrokenError as error:
        fault = str(error)
    if fault is not None:
        fault = f"gateway.members.{number} = {endpoint.name}: {fault}; see to base_url, api_key_env and model"
    return Trial(endpoint.name, endpoint.base_url, time.perf_counter() - began, reading.model, fault)
