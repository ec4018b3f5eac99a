"""A chat-completions server that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is sent back: ``body`` as it is (text) or as JSON. ``cut`` drops the connection in the body's middle."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    cut: bool = False


def completion(*texts: str | None, prompt_tokens: int = 7, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    """A completion's JSON with one choice per text; every text's words are its tokens, usage counts them all."""
    choices = [
        {"index": i, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}, **more}
        for i, text in enumerate(texts)
    ]
    tokens = sum(len((text or "").split()) for text in texts)
    return {"choices": choices, "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}}


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI words it."""
    return Reply({"error": {"message": message}}, status, {name.replace("_", "-"): v for name, v in headers.items()})


class ChatServer:
    """Serves ``answer(body, number of earlier calls)`` at ``url`` while the context is open.

    Args:
        answer: to a call.
        models: to the question which models there are; without it, that is not known here.

    Attributes:
        listed: how often that was asked.
        calls: (arrival in seconds, path, headers, JSON body) of every call, in order.
        most_at_once: largest number of calls that were being answered at the same time.
    """

    def __init__(
        self, answer: Callable[[dict[str, Any], int], Reply | dict[str, Any]], models: Reply | None = None
    ) -> None:
        self.calls: list[tuple[float, str, dict[str, str], dict[str, Any]]] = []
        self.most_at_once = self.listed = 0
        self._answer = answer
        self._now = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def do_GET(self) -> None:
                outer.listed += 1
                assert self.path == "/v1/models"
                outer._send(self, models or Reply("", 404))

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:  # a client that went away
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [call[3] for call in self.calls]

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            number = len(self.calls)
            self.calls.append(
                (time.monotonic(), handler.path, {k.lower(): v for k, v in handler.headers.items()}, body)
            )
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        reply = self._answer(body, number)
        reply = reply if isinstance(reply, Reply) else Reply(reply)
        self._stop.wait(reply.wait_s)
        with self._lock:
            self._now -= 1
        self._send(handler, reply)

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        content = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"content-length": str(len(content)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2] if reply.cut else content)
        handler.close_connection = reply.cut
