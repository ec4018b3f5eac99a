"""An address that answers JSON with JSON: many calls at once, each tried again, the key kept out of sight."""

from __future__ import annotations

import asyncio
import json
import math
import queue
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from erp.engines.base import Failure
from erp.engines.chat_address import address_faults, key_in, proxy_of
from erp.engines.chat_answers import CHAT, Completion, Endpoint, message_in, retry_after_s
from erp.engines.pace import Pace
from erp.errors import ErpError

if TYPE_CHECKING:
    import aiohttp

Job = TypeVar("Job")
R = TypeVar("R")
Body = dict[str, Any]
Asks = Callable[[Body], Awaitable[Any]]  # one call; the answer is what the endpoint reads
Post = Callable[[Body], Awaitable[Completion]]

TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
REMEDIES = {  # for what the next call would be told too
    401: "export a key that this address accepts under the name of {node}.api_key_env = {env}",
    402: "the account behind the key has to be topped up",
    403: "the key of {node}.api_key_env = {env} may not do this: use another key, or another model",
    404: "check the address (what stands before {path}), and the model's name as the server lists it at /models",
}
UNHEARD_S = 4.0  # a server that never was there is not waited for any longer
CONNECT_S = 10.0  # an address that takes longer to open a connection is not there


class Unanswered(Exception):  # noqa: N818  # no fault: it ends as a Failure
    """A call has no answer. ``refused``: the server says that the call itself is wrong, and would say it again."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused

    def failure(self) -> Failure:
        """What is recorded."""
        return Failure(str(self), final=self.refused)


class _Again(Exception):  # noqa: N818
    """This attempt came to nothing; another one may, not before ``after_s`` seconds."""

    def __init__(self, reason: str, after_s: float = 0.0, unconnected: bool = False) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.unconnected = unconnected


class ChatAPI:
    """How one address is called. Holds no connection and no key: both live as long as an ``each`` does.

    Args:
        node: the config node whose options these are, for error lines.
        base_url: address up to where the endpoint's path begins.
        api_key_env: environment variable the key is read from at every ``each``; empty or None: no key is sent.
        concurrency: calls at once, those that wait for another attempt included.
        timeout_s: of one attempt, from the connection to the last byte. A server that asks (``Retry-After``) to be left
            alone for longer than this is not asked again.
        retries: attempts after the first.
        backoff_s: wait before the second attempt; doubled at every further one, and shortened by chance by up to half
            so that calls which failed together do not come back together.
        backoff_max_s: longest wait of our own; ``Retry-After`` may be longer.
        endpoint: what is called there, chat completions unless said.

    Raises:
        ErpError: a value out of range, or an address with credentials in it.
    """

    def __init__(
        self,
        node: str,
        base_url: str,
        api_key_env: str | None,
        concurrency: int,
        timeout_s: float,
        retries: int,
        backoff_s: float,
        backoff_max_s: float,
        endpoint: Endpoint = CHAT,
    ) -> None:
        faults = address_faults(node, base_url, path=endpoint.base)
        faults += [
            f"{node}.{name} = {value}: give {allowed}"
            for name, value, fits, allowed in (
                ("concurrency", concurrency, concurrency >= 1, "1 or more"),
                ("timeout_s", timeout_s, 0 < timeout_s < math.inf, "seconds above 0"),
                ("retries", retries, 0 <= retries <= 100, "0 to 100"),
                ("backoff_s", backoff_s, 0 <= backoff_s <= backoff_max_s, "seconds from 0 to backoff_max_s"),
                ("backoff_max_s", backoff_max_s, backoff_max_s < math.inf, "a number of seconds"),
            )
            if not fits
        ]
        if faults:
            raise ErpError(*faults)
        self.node = node
        self.base_url = base_url.rstrip("/")
        self.api_key_env = api_key_env
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.retries = retries
        self.backoff_s = backoff_s
        self.backoff_max_s = backoff_max_s
        self.endpoint = endpoint

    def each(self, jobs: Iterable[Job], work: Callable[[Asks, Job], Awaitable[R]]) -> Iterator[tuple[int, R | Failure]]:
        """Do the work of every job, as many at once as there may be calls. Jobs are taken when they are begun.

        The calls run in a thread of their own, on while the caller is busy with a result. Leaving the iterator, by an
        exception too, cancels what is under way.

        Args:
            jobs: what is to be done.
            work: what makes a job's calls, with the given function; what it leaves ``Unanswered`` becomes a Failure.

        Yields:
            (position in ``jobs``, what ``work`` returned), each once, as they are finished.

        Raises:
            ErpError: every call would fail: the key, the model or the address is wrong.
        """
        session = _Session(self)
        results: queue.SimpleQueue[tuple[int, R | Failure] | BaseException | None] = queue.SimpleQueue()
        started: Future[Callable[[], object]] = Future()  # to what cancels the work, and leaves the closing alone

        async def worker(pending: Iterator[tuple[int, Job]]) -> None:
            for index, job in pending:
                try:
                    results.put((index, await work(session.post, job)))
                except Unanswered as reason:
                    results.put((index, reason.failure()))

        async def every_job() -> None:
            async with session.opened():
                pending = iter(enumerate(jobs))
                workers = [worker(pending) for _ in range(self.concurrency)]
                task = asyncio.create_task(together(workers))
                started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
                await task

        def run() -> None:
            try:
                asyncio.run(every_job())
                results.put(None)
            except BaseException as error:
                results.put(error)
                if not started.done():
                    started.set_exception(error)

        thread = threading.Thread(target=run, name=f"calls to {self.base_url}", daemon=True)
        try:
            thread.start()
            while (result := results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            started.add_done_callback(_cancel)
            if thread.is_alive():
                thread.join()


def _cancel(started: Future[Callable[[], object]]) -> None:
    if started.exception() is None:
        with suppress(RuntimeError):  # the loop is closed: all is done
            started.result()()


class _Session:
    """The connections of one ``each``, and what its calls learn from each other."""

    _client: aiohttp.ClientSession

    def __init__(self, api: ChatAPI) -> None:
        self._api = api
        try:
            import aiohttp
        except ModuleNotFoundError:
            raise ErpError(f"{api.node}: needs the package aiohttp; pip install 'erp[openai]'") from None
        self._key = key_in(api.node, api.api_key_env)
        self._errors = aiohttp.ClientError
        self._unconnected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
        self._proxy = proxy_of(api.base_url)
        self._slots = asyncio.Semaphore(api.concurrency)
        self._pace = Pace()
        self._heard = -math.inf  # when the server last said something
        self._served = False
        self._gone: str | None = None  # why nobody needs to try any longer

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connections for as long as the context is open; a client belongs to the loop that it is made in."""
        import aiohttp

        authorization = {"authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = aiohttp.ClientSession(
            headers={"content-type": "application/json", **authorization},
            connector=aiohttp.TCPConnector(limit=self._api.concurrency),
            timeout=aiohttp.ClientTimeout(  # the whole is timed in _attempt
                total=None, sock_connect=min(CONNECT_S, self._api.timeout_s)
            ),
        )
        async with self._client:
            yield

    async def post(self, body: Body) -> Any:
        """The server's answer. Raises Unanswered, or ErpError where no call can succeed."""
        content = json.dumps(body).encode()  # ASCII: a lone surrogate is escaped, not an error
        async with self._slots:
            since, attempts = time.monotonic(), 0
            while not self._gone:
                await self._pace.turn()
                try:
                    return await self._attempt(content)
                except _Again as error:
                    again, attempts = error, attempts + 1
                late = attempts > self._api.retries or time.monotonic() - since > UNHEARD_S
                if again.unconnected and self._heard == -math.inf and late:
                    raise ErpError(
                        f"{self._api.node}.base_url = {self._api.base_url}: nobody answers there ({again}); start the "
                        f"server, or correct the address"
                    )
                if attempts > self._api.retries:
                    reason = f"{again} (attempt {attempts}, the last)"
                    if again.unconnected and self._heard < since:  # nobody else got through either
                        self._gone = reason
                    raise Unanswered(reason)
                if again.after_s > self._api.timeout_s:
                    self._gone = f"{again}; to be asked again in {again.after_s:.0f} s, no sooner"
                    break
                backoff_s = min(self._api.backoff_max_s, self._api.backoff_s * 2.0 ** (attempts - 1))
                await asyncio.sleep(max(again.after_s, backoff_s * random.uniform(0.5, 1)))
            raise Unanswered(self._gone)

    async def _attempt(self, content: bytes) -> Any:
        url = f"{self._api.base_url}{self._api.endpoint.path}"
        try:
            async with (
                asyncio.timeout(self._api.timeout_s),
                self._client.post(url, data=content, allow_redirects=False, proxy=self._proxy) as response,
            ):
                status, headers, answer = response.status, response.headers, await response.read()
        except TimeoutError as error:
            if isinstance(error, self._unconnected):
                raise _Again(f"no connection within {CONNECT_S:g} s", unconnected=True) from None
            raise _Again(f"{self._api.base_url}: no answer within {self._api.timeout_s:g} s") from None
        except self._errors as error:
            unconnected = isinstance(error, self._unconnected)
            reason = str(error) if unconnected else f"{self._api.base_url}: {type(error).__name__} {error}".rstrip()
            raise _Again(self._hidden(reason), unconnected=unconnected) from None
        self._heard = time.monotonic()
        if status == 429:
            self._pace.refused(retry_after_s(headers.get("retry-after", "")))
        if not 200 <= status < 300:
            self._raise_for(status, headers.get("retry-after", ""), answer)
        try:
            read = self._api.endpoint.read(answer)
        except ValueError:  # half a body, a proxy's page, an error under status 200
            raise _Again(f"{status}, but no {self._api.endpoint.what}: {self._said(answer)}") from None
        self._served = True
        self._pace.answered(headers)
        return read

    def _raise_for(self, status: int, retry_after: str, answer: bytes) -> None:
        said = self._said(answer)
        if status in TRY_AGAIN:
            raise _Again(f"{status}: {said}", after_s=retry_after_s(retry_after))
        if status < 400:
            remedy = f"it points to another address: give that one, without {self._api.endpoint.path}"
        elif status in REMEDIES and not (status == 403 and self._served):  # 403 is also said of a single flagged prompt
            remedy = REMEDIES[status].format(
                node=self._api.node, env=self._api.api_key_env, path=self._api.endpoint.path
            )
        else:
            raise Unanswered(f"{status}: {said}", refused=True)
        raise ErpError(f"{self._api.node}.base_url = {self._api.base_url}: answers {status} ({said}); {remedy}")

    def _said(self, answer: bytes) -> str:
        text = self._hidden(message_in(answer))
        return text if len(text) <= 200 else f"{text[:200]}..."

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


async def together(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of calls made at once, in order; the first to fail cancels the rest and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
