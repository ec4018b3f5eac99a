"""How many calls are under way: as many as there may be where a server takes its time, few where it takes none."""

import asyncio
import json
import resource
import threading

import pytest

from erp.engines.base import Response
from tests.engines.calls import TINY, engine, request
from tests.engines.chat_server import completion

AT_ONCE = 1024


class Counting:
    """A server in a loop and thread of its own, which answers as soon as ``fill`` calls wait for it, the first time.

    Attributes:
        connections: that were opened.
        most_at_once: calls that waited at the same time.
    """

    def __init__(self, fill: int) -> None:
        self.connections = self.most_at_once = 0
        self._fill = fill
        self._waiting: list[asyncio.Transport] | None = []
        body = json.dumps(completion("yes")).encode()
        self._answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        self._answer %= (len(body), body)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        outer = self

        class Connection(asyncio.Protocol):
            def connection_made(self, transport):
                outer.connections += 1
                self.transport, self.heard = transport, b""

            def data_received(self, data):
                self.heard += data
                head, _, body = self.heard.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                if len(body) == length:
                    self.heard = b""
                    outer._asked(self.transport)

        self._thread.start()
        serving = self._loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _asked(self, transport):
        if self._waiting is not None:
            self._waiting.append(transport)
            self.most_at_once = max(self.most_at_once, len(self._waiting))
            if len(self._waiting) < self._fill:
                return
            waiting, self._waiting = self._waiting, None
            for each in waiting:
                each.write(self._answer)
        else:
            transport.write(self._answer)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(autouse=True)
def _files():
    """Both ends of every connection are open files of this process."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 3 * AT_ONCE if most == resource.RLIM_INFINITY else min(3 * AT_ONCE, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, enough), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def _all_answered(server, calls):
    asked = engine(server, api_key_env=None, concurrency=AT_ONCE, timeout_s=60.0)
    answers = list(asked.generate((request(str(i)) for i in range(calls)), TINY))
    assert sorted(position for position, _, _ in answers) == list(range(calls))
    assert all(isinstance(answer, Response) for _, _, answer in answers)


def test_a_server_that_answers_at_once_is_given_few_at_once():
    with Counting(fill=1) as server:
        _all_answered(server, 4000)
    assert server.connections < AT_ONCE * 3 // 4


def test_a_server_that_takes_its_time_is_given_all_at_once():
    with Counting(fill=AT_ONCE) as server:  # nothing is answered before the last of them is there
        _all_answered(server, AT_ONCE + 100)
    assert server.most_at_once == AT_ONCE
