"""What the benchmarks of `erp serve` share: processes of one machine, a member's server, callers, a page of results."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erp.trained.router import load

PAGE = Path(__file__).with_name("SERVING.md")
ERP = [sys.executable, "-m", "erp"]
WORDS, PATIENCE_S = 40, 5
_STARTING_S = 120
_TICKS = os.sysconf("SC_CLK_TCK")
_WORDS = ["the", "of", "proof", "code", "loop", "prime", "rain", "sort", "city", "answer", *map(str, range(20))]
_ANSWER = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}  # fmt: skip
_LITELLM = {  # offline, quiet, and without keys, as the gateway is
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
_CHUNK = {
    "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": None, "delta": {"content": "yes"}}],
}  # fmt: skip


@contextmanager
def process(command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process, ended with all its children however the block ends."""
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, **environment}
    )
    try:
        yield started
    finally:
        for ended_by in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(started.pid, ended_by)
                started.wait(15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


def end_in_order() -> None:
    """Let a signal end this program by way of its `finally`s."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> int:
    """File descriptors of a process, connections among them."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def trained(backbone: str, folder: Path) -> Path:
    """A run of `router=ridge` on the table that ships."""
    keys = ["router=ridge", f"backbone={backbone}", "figures=false", "tracking=off", f"out={folder}"]
    said = subprocess.run([*ERP, "train", *keys], check=True, capture_output=True, text=True).stdout
    return Path(said.strip().splitlines()[-1])


@contextmanager
def instant() -> Iterator[tuple[str, int]]:
    """A member's server that answers at once: its address and its process."""
    code = "import asyncio; from benchmarks.loopback import serve_instantly; asyncio.run(serve_instantly())"
    with process([sys.executable, "-c", code]) as server:
        yield f"http://127.0.0.1:{_line(server)}/v1", server.pid


@contextmanager
def gateway(run: Path, url: str, folder: Path) -> Iterator[tuple[str, int, Sequence[str]]]:
    """`erp serve` with pins in a file and a decision log: its address, its process, the members' names."""
    members = load(run).members
    options = {
        "members": [{"name": name, "base_url": url} for name in members],
        "state": str(folder / "state.db"),
        "log": {"folder": str(folder / "log")},
    }
    (folder / "gateway").mkdir(parents=True, exist_ok=True)
    (folder / "gateway" / "it.yaml").write_text(json.dumps(options))
    with process([*ERP, "serve", "--config-dir", str(folder), "gateway=it", f"run={run}", "port=0"]) as served:
        yield _line(served).split()[1].rstrip(","), served.pid, members


@contextmanager
def litellm(python: str, url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """LiteLLM's proxy in front of the same server, by the Python that has it: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": url, "api_key": "none"}}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [one], "router_settings": {"num_retries": 0}}))
    command = [python, str(Path(python).with_name("litellm")), "--config", str(folder / "litellm.yaml"),
               "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]  # fmt: skip
    with process(command, **_LITELLM) as proxy:
        until = time.monotonic() + _STARTING_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                    break
            except OSError:
                if proxy.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("LiteLLM's proxy does not start") from None
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", proxy.pid


def _line(started: subprocess.Popen[str]) -> str:
    line = started.stdout.readline() if started.stdout else ""
    if not line:
        raise RuntimeError(f"{started.args} does not start")
    return line.strip()


async def serve_instantly() -> None:
    """Answer every request at once, streamed or not; print the port."""

    def whole(kind: str, body: bytes) -> bytes:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    answer = whole("application/json", json.dumps(_ANSWER).encode())
    events = [{**_CHUNK}] * 5 + [{**_CHUNK, "choices": [], "usage": _ANSWER["usage"]}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    stream = whole("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
                writer.write(stream if body and json.loads(body).get("stream") else answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def prompts(count: int, seed: int = 0) -> list[str]:
    """Texts of `WORDS` words, no two alike."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=WORDS)) + f" {seed} {i}" for i in range(count)]


def chat(model: str, text: str, **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        ms: from the moment it was due to its last byte.
        status: of the answer; 0 where none came.
        path: why the gateway chose this member.
    """

    ms: float
    status: int
    path: str


class Caller:
    """One connection, kept open; as little of Python as can be, so that it is not what is measured."""

    def __init__(self, url: str) -> None:
        _, _, self._host, path = url.split("/", 3)
        self._path = f"/{path}/chat/completions"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, body: Mapping[str, Any] | bytes) -> asyncio.StreamReader:
        """Send a request; gives where its answer comes."""
        if self._streams is None:
            name, _, port = self._host.partition(":")
            self._streams = await asyncio.open_connection(name, int(port))
        reader, writer = self._streams
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer none\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        return reader

    async def ask(self, body: Mapping[str, Any] | bytes, due: float) -> Answer:
        """Send a request that was due at a moment of `time.perf_counter`, and read its answer."""
        status, path = 0, ""
        try:
            async with asyncio.timeout(60):
                reader = await self.send(body)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status = int(head.split(" ", 2)[1])
                lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                path = lines.get("x-erp-path", "")
                await _read(reader, lines)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            status = 0
            self.close()
        return Answer((time.perf_counter() - due) * 1e3, status, path)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _read(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
    """The body of an answer."""
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


async def asked(url: str, model: str, texts: Sequence[str], callers: int, rate: float | None) -> list[Answer]:
    """Ask all texts by so many connections: so many a second whether or not others are answered, or one after another.

    A request that finds every connection taken waits, and its time runs from when it was due. One that waits too long
    is not sent any more.
    """
    began, given, found = time.perf_counter(), iter(enumerate(texts)), list[Answer]()

    async def one() -> None:
        caller = Caller(url)
        for i, text in given:
            due = time.perf_counter() if rate is None else began + i / rate
            await asyncio.sleep(due - time.perf_counter())
            late_s = time.perf_counter() - due
            gone = Answer(late_s * 1e3, 0, "")
            found.append(gone if late_s > PATIENCE_S else await caller.ask(chat(model, text), due))
        caller.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(one())
    return found


def write(title: str, lines: Sequence[str]) -> None:
    """Put a section on the page, in the place of the one of this title."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Serving\n"
    body = "\n".join([f"## {title}", "", *lines]).rstrip()
    head, *parts = re.split(r"\n(?=## )", text.rstrip())
    kept = {part.splitlines()[0]: part.rstrip() for part in parts} | {f"## {title}": body}
    PAGE.write_text("\n\n".join([head.rstrip(), *kept.values()]) + "\n", encoding="utf-8")
    print(body, flush=True)
