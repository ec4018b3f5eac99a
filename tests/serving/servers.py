"""Servers in threads: a gateway on a port, and a member's server that does what a test tells it to, byte by byte."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvicorn


@dataclass
class Asked:
    """What a member's server was asked."""

    path: str
    headers: dict[str, str]
    raw: bytes
    gone: threading.Event = field(default_factory=threading.Event)  # set once the other side has hung up

    @property
    def body(self):
        return json.loads(self.raw)


Script = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class Member:
    """A member's server on a port of its own.

    Attributes:
        asked: every request, in order.
        script: what it does; may be changed while it runs.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Member:
        self._thread.start()
        opened = asyncio.run_coroutine_threadsafe(self._open(), self._loop)
        self.url = f"http://127.0.0.1:{opened.result()}/v1"
        return self

    async def _open(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def __exit__(self, *_) -> None:
        async def end() -> None:
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            asked = Asked(first.split()[1], headers, await reader.readexactly(int(headers.get("content-length", 0))))
            self.asked.append(asked)
            doing = asyncio.ensure_future(self.script(asked, writer))
            hanging = asyncio.ensure_future(reader.read(1))
            await asyncio.wait([doing, hanging], return_when=asyncio.FIRST_COMPLETED)
            if hanging.done():
                asked.gone.set()
            doing.cancel()
            hanging.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def reply(content, status=200, **headers) -> Script:
    """An answer at once; ``content`` as it is (bytes), or as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} x\r\n{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()

    return script


def parts(*chunks, kind="text/event-stream", pause_s=0.0, end=True) -> Script:
    """A chunked answer, part by part; without its end, the connection is dropped. A number is a longer pause."""

    async def script(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for chunk in chunks:
            if isinstance(chunk, int | float):
                await asyncio.sleep(chunk)
                continue
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            await asyncio.sleep(pause_s)
        if end:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    return script


def completion(text="hello", **more):
    """A chat completion."""
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-model",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, **more,
    }  # fmt: skip


def event(content) -> bytes:
    """A server-sent event."""
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def chunk(text, **more):
    """A part of a streamed completion."""
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "upstream-model",
        "choices": choices,
        **more,
    }


class Served:
    """An application on a port, while the context is open."""

    def __init__(self, app, **options) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical", **options)
        self._server = uvicorn.Server(config)
        self._app = app
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        await self._server.serve()
        if hasattr(self._app, "close"):  # a gateway, and no judge
            await self._app.close()

    def __enter__(self) -> Served:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            threading.Event().wait(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
