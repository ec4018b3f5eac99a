"""An address that answers JSON with JSON: many calls at once, each tried again, the key kept out of sight."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from erp.engines.base import Failure
from erp.engines.chat_address import address_faults
from erp.engines.chat_answers import CHAT, Completion, Endpoint
from erp.engines.chat_models import Listed, read_models
from erp.engines.chat_session import Body, Session, Unanswered
from erp.engines.handover import Ahead, Come
from erp.engines.pace import Turns
from erp.errors import ErpError

Job = TypeVar("Job")
R = TypeVar("R")
Asks = Callable[[Body], Awaitable[Any]]  # one call; the answer is what the endpoint reads
Post = Callable[[Body], Awaitable[Completion]]
Started = Future[Callable[[], object]]  # what cancels the work, and leaves the closing alone


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
        self.told = False
        self._going = set[Started]()
        self._stopped = False

    def stop(self) -> None:
        """Make no more calls and leave those under way: an ``each`` that is going on gives what has come, and ends.

        For good. May be called by any thread, and where a signal is handled.
        """
        self._stopped = True
        for started in list(self._going):
            started.add_done_callback(_cancel)

    def models(self) -> Listed | None:
        """Which models the address says that it has; None where it does not say.

        Raises:
            ErpError: nobody is there, or the key is refused.
        """
        session, said = Session(self), Future[bytes | None]()

        async def ask() -> bytes | None:
            async with session.opened():
                return await session.models()

        def run() -> None:
            try:
                said.set_result(asyncio.run(ask()))
            except BaseException as error:
                said.set_exception(error)

        # as in `each`: the caller may have a loop of its own
        threading.Thread(target=run, name=f"models of {self.base_url}", daemon=True).start()
        content = said.result()
        return None if content is None else read_models(content)

    def each(self, jobs: Iterable[Job], work: Callable[[Asks, Job], Awaitable[R]]) -> Iterator[tuple[int, R | Failure]]:
        """Do the work of every job, as many at once as there may be calls.

        The calls run in a thread of their own, on while the caller is busy with a result. Jobs are taken in another,
        as many ahead as there may be calls: one that waits for a disk keeps no call from its answer. Leaving the
        iterator, by an exception too, cancels what is under way.

        Args:
            jobs: what is to be done.
            work: what makes a job's calls, with the given function; what it leaves ``Unanswered`` becomes a Failure.

        Yields:
            (position in ``jobs``, what ``work`` returned), each once, as they are finished.

        Raises:
            ErpError: every call would fail: the key, the model or the address is wrong.
        """
        session = Session(self)
        come: Come[tuple[int, R | Failure]] = Come(self.concurrency)
        started: Started = Future()
        ahead = Ahead(jobs, self.concurrency, f"requests to {self.base_url}")
        turns = Turns()

        async def worker() -> None:
            while True:
                await turns.mine()
                following = await ahead.following()
                if following is None:
                    return
                index, job = following
                try:
                    result: R | Failure = await work(session.post, job)
                except Unanswered as reason:
                    result = reason.failure()
                come.add((index, result))

        async def every_job() -> None:
            async with session.opened():
                ahead.begin()
                workers = [worker() for _ in range(self.concurrency)]
                task = asyncio.create_task(together(workers))
                started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
                await task

        def run() -> None:
            try:
                try:
                    with suppress(asyncio.CancelledError):  # it was stopped, or nobody listens any more
                        asyncio.run(every_job())
                finally:
                    ahead.leave()
                come.end()
            except BaseException as error:
                come.end(error)
                if not started.done():
                    started.set_exception(error)

        thread = threading.Thread(target=run, name=f"calls to {self.base_url}", daemon=True)
        self._going.add(started)
        try:
            if self._stopped:
                return
            thread.start()
            yield from come
        finally:
            started.add_done_callback(_cancel)
            if thread.is_alive():
                thread.join()
            self._going.discard(started)


def _cancel(started: Started) -> None:
    if started.exception() is None:
        with suppress(RuntimeError):  # the loop is closed: all is done
            started.result()()


async def together(calls: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of calls made at once, in order; the first to fail cancels the rest and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
