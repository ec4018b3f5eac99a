"""``python -m benchmarks.calls``: calls per second of ``engine=openai``, and how long a collection waits for slow ones.

The server, a process of its own, answers at once, or after a time drawn from an exponential law that depends on the
call alone. Beside the engine stands a bare loop of aiohttp over the same bodies, in turn; beside a whole ``erp
collect`` the time that as many callers need who never wait for each other. Writes its part of
``benchmarks/ENGINES.md``.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import heapq
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.__main__ import machine
from erp import cli
from erp.config import Decoding, Member
from erp.engines.base import Failure, Request
from erp.engines.openai import OpenAIEngine

PAGE = Path(__file__).with_name("ENGINES.md")
HEADING = "## Calls to a server"
IN_FLIGHT, ROUNDS, BUSY_S = (1, 32, 256, 1024), 5, 2.5
MEAN_S, AT_ONCE, PROMPTS = 0.5, 128, 960
TINY = Member(name="tiny", decoding=Decoding(temperature=1.0, max_tokens=16))
_ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes " * 40}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 40},
}
_MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}


def latency_s(body: bytes) -> float:
    """Exponential, mean ``MEAN_S``; the same call takes the same time."""
    call = json.loads(body)
    digest = hashlib.sha256(f"{call['messages'][-1]['content']}|{call.get('seed')}".encode()).digest()
    return -MEAN_S * math.log1p(-int.from_bytes(digest[:6], "big") / 2**48)


async def serve(slow: bool) -> None:
    """The server: its port on the first line, then answers until it is ended."""
    answer, models = (_ok(json.dumps(said).encode()) for said in (_ANSWER, _MODELS))

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):  # which models there are, before a collection
                    writer.write(models)
                    continue
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                asked = await reader.readexactly(length)
                if slow:
                    await asyncio.sleep(latency_s(asked))
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def served(how: str) -> Iterator[str]:
    """The address of such a server while the context is open."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.calls", how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def by_engine(address: str, at_once: int, calls: int) -> None:
    """All calls through the engine."""
    engine = OpenAIEngine(address, None, concurrency=at_once)
    requests = (Request(TINY.messages(f"prompt {i}"), i) for i in range(calls))
    came = [answer for _, _, answer in engine.generate(requests, TINY)]
    assert len(came) == calls
    assert not any(isinstance(answer, Failure) for answer in came)


def bare(address: str, at_once: int, calls: int) -> None:
    """The same calls by aiohttp alone, their JSON read."""

    async def every() -> None:
        numbers = iter(range(calls))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as client:

            async def caller() -> None:
                for i in numbers:
                    said = {"model": "tiny", "messages": [{"role": "user", "content": f"prompt {i}"}], "seed": i}
                    async with client.post(f"{address}/chat/completions", json=said) as response:
                        await response.json()

            await asyncio.gather(*(caller() for _ in range(at_once)))

    asyncio.run(every())


def rate(run: Callable[[str, int, int], None], address: str, at_once: int, calls: int) -> float:
    """Calls per second."""
    start = time.perf_counter()
    run(address, at_once, calls)
    return calls / (time.perf_counter() - start)


def instant() -> list[str]:
    """Rows of calls per second; every round goes through all of them, as a machine is faster in some minutes."""
    lines = ["| in flight | calls/s | bare aiohttp | share of it |", "|---|---|---|---|"]
    with served("instant") as address:
        calls = {at_once: int(BUSY_S * rate(bare, address, at_once, 1000)) for at_once in IN_FLIGHT}
        rates = [
            [[rate(run, address, at_once, many) for run in (by_engine, bare)] for at_once, many in calls.items()]
            for _ in range(ROUNDS)
        ]
    for at_once, pairs in zip(IN_FLIGHT, zip(*rates, strict=True), strict=True):
        ours, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        share = statistics.median(a / b for a, b in pairs)
        lines.append(f"| {at_once:,} | {ours:,.0f} | {other:,.0f} | {share:.2f} |")
    return lines


def ideal_s(latencies: list[float]) -> float:
    """How long ``AT_ONCE`` callers take who begin the next call as soon as one ends."""
    free = [0.0] * AT_ONCE
    for latency in latencies:
        heapq.heappush(free, heapq.heappop(free) + latency)
    return max(free)


def collected(k: int, prompts: int) -> str:
    """A row: a collection over the slow server, sampled alone."""
    with tempfile.TemporaryDirectory() as folder, served("slow") as address:
        file = Path(folder, "prompts.jsonl")
        rows = [{"prompt_id": f"p{i}", "prompt": f"What is {i}?", "reference": "1"} for i in range(prompts)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        cli.main([*_command(folder, address, 1), "prompts.limit=2", "name=warm"])  # imports, and the first composing
        start = time.perf_counter()
        assert cli.main(_command(folder, address, k)) == 0
        took = time.perf_counter() - start
        import pandas as pd

        parts = sorted(Path(folder, "table/samples").glob("part-*.parquet"))
        seeds = pd.concat([pd.read_parquet(part, columns=["prompt_id", "seed"]) for part in parts])
    calls = [
        json.dumps({"messages": [{"content": f"What is {prompt_id[1:]}?"}], "seed": seed}).encode()
        for prompt_id, seed in zip(seeds["prompt_id"], seeds["seed"], strict=True)
    ]
    ideal = ideal_s([latency_s(call) for call in calls])
    return f"| {prompts:,} x K = {k} | {took:.1f} s | {ideal:.1f} s | {took / ideal:.2f}x |"


def _command(folder: str, address: str, k: int) -> list[str]:
    return [
        *(
            "collect",
            "prompts=jsonl",
            f"prompts.path={folder}/prompts.jsonl",
            "pool=all",
            "pool.members=[{name: tiny}]",
        ),
        *("engine=openai", f"engine.base_url={address}", "engine.api_key_env=null", f"engine.concurrency={AT_ONCE}"),
        *(f"k={k}", f"out={folder}", "name=table", "steps=[sample]", "progress=false"),
    ]


def write_part(heading: str, lines: list[str]) -> None:
    """Replace the page's part under a heading; others stay."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")
    kept = [part.rstrip() for part in parts if f"## {part}".split("\n", 1)[0] != heading]
    PAGE.write_text("\n\n## ".join([*kept, "\n".join([heading[3:], "", *lines])]) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    gc.set_threshold(*cli.SEARCHES)  # as every `erp` has it, for both sides: with 1,024 in flight it is half the time
    fast = instant()
    slow = [
        "| prompts x samples | `erp collect` | ideal | ratio |", "|---|---|---|---|",
        collected(1, PROMPTS), collected(8, PROMPTS // 4),
    ]  # fmt: skip
    lines = [
        f"`python -m benchmarks.calls`; server and caller share the machine; medians of {ROUNDS} runs in turn.",
        "",
        machine()[0],
        "",
        "A server that answers at once; *in flight*: calls that are allowed at once; Python's search for cycles as",
        "seldom as `erp` has it, on both sides:",
        "",
        *fast,
        "",
        f"A server that answers after an exponential time of mean {MEAN_S:g} s, {AT_ONCE} calls in flight, units of 32",
        "prompts; *ideal*: callers who never wait for each other, with the very same times:",
        "",
        *slow,
    ]
    print("\n".join(lines))
    write_part(HEADING, lines)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        asyncio.run(serve(sys.argv[1] == "slow"))
    else:
        main()
