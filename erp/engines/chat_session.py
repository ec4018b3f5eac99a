"""What one run of calls to an address shares: connections, a pace, and what the server was heard to say."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from erp.engines.base import Failure
from erp.engines.chat_address import key_in, proxy_of
from erp.engines.chat_answers import Endpoint, message_in, retry_after_s
from erp.engines.pace import Pace
from erp.engines.patience import Patience
from erp.errors import ErpError

if TYPE_CHECKING:
    import aiohttp

Body = dict[str, Any]

TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
REMEDIES = {  # for what the next call would be told too
    401: "export a key that this address accepts under the name of {node}.api_key_env = {env}",
    402: "the account behind the key has to be topped up",
    403: "the key of {node}.api_key_env = {env} may not do this: use another key, or another model",
    404: "check the address (what stands before {path}), and the model's name as the server lists it at /models",
}
UNHEARD_S = 4.0  # a server that never was there is not waited for any longer
CONNECT_S = 5.0  # an address that takes longer to open a connection is not there
QUIET_S = 4.0  # without an answer after which it is said, once, what the server says instead
SILENT_S = 8.0  # without a word after which that is said, once
MODELS_S = 6.0  # for which the list of models, which is no more than good to know, is waited for
LARGEST = 2**26  # bytes of an answer: what goes on for longer is no answer, and would fill the memory


class Unanswered(Exception):  # noqa: N818  # no fault: it ends as a Failure
    """A call has no answer. ``refused``: the server says that the call itself is wrong, and would say it again."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused

    def failure(self) -> Failure:
        """What is recorded."""
        return Failure(str(self), final=self.refused)


class _Again(Exception):  # noqa: N818
    """This attempt came to nothing; another one may, not before ``after_s`` seconds.

    ``unconnected``: nobody heard it. ``foreign``: what answered speaks of other things than this API does.
    """

    def __init__(
        self, reason: str, after_s: float = 0.0, unconnected: bool = False, foreign: bool = False
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.after_s = after_s
        self.unconnected = unconnected
        self.foreign = foreign


class Address(Protocol):
    """Where calls go and how patiently: what a `ChatAPI` was told."""

    node: str
    base_url: str
    api_key_env: str | None
    concurrency: int
    timeout_s: float
    retries: int
    backoff_s: float
    backoff_max_s: float
    endpoint: Endpoint
    told: bool  # whether it was said that the server does not answer


class Session:
    """The connections of one ``each``, and what its calls learn from each other."""

    _client: aiohttp.ClientSession

    def __init__(self, api: Address) -> None:
        self._api = api
        try:
            import aiohttp
        except ModuleNotFoundError:
            raise ErpError(f"{api.node}: needs the package aiohttp; pip install 'erp[openai]'") from None
        self._where = f"{api.node}.base_url = {api.base_url}"
        self._key = key_in(api.node, api.api_key_env)
        self._errors = aiohttp.ClientError
        self._unconnected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
        self._proxy = proxy_of(api.base_url)
        self._slots = asyncio.Semaphore(api.concurrency)
        self._pace = Pace()
        self._patience = Patience(api.timeout_s)
        self._heard = -math.inf  # when the server last said something
        self._served = False
        self._answered = time.monotonic()  # when the last call was, or the first could be
        self._gone: str | None = None  # why nobody needs to try any longer
        self._silent: asyncio.TimerHandle | None = None  # runs from the first call on

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connections for as long as the context is open; a client belongs to the loop that it is made in."""
        import aiohttp

        authorization = {"authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = aiohttp.ClientSession(
            headers={"content-type": "application/json", **authorization},
            connector=aiohttp.TCPConnector(limit=self._api.concurrency),
            timeout=aiohttp.ClientTimeout(  # the whole is timed in _exchange
                total=None, sock_connect=min(CONNECT_S, self._api.timeout_s)
            ),
        )
        async with self._client:
            yield
        if self._silent is not None:
            self._silent.cancel()

    async def post(self, body: Body) -> Any:
        """The server's answer. Raises Unanswered, or ErpError where no call can succeed."""
        content = json.dumps(body).encode()  # ASCII: a lone surrogate is escaped, not an error
        async with self._slots:
            if self._silent is None:
                self._silent = asyncio.get_running_loop().call_later(SILENT_S, self._say_silent)
            since, attempts = time.monotonic(), 0
            while not self._gone:
                await self._pace.turn()
                try:
                    return await self._attempt(content)
                except _Again as error:
                    again, attempts = error, attempts + 1
                self._refuse_strangers(again, time.monotonic() - since > UNHEARD_S, attempts)
                self._say(again)
                if attempts > self._api.retries:
                    reason = f"{again} (attempt {attempts}, the last)"
                    if again.unconnected and self._heard < since:  # nobody else got through either
                        self._gone = reason
                    raise Unanswered(reason)
                if again.after_s > self._api.timeout_s:
                    self._gone = f"{again}; to be asked again in {again.after_s:.0f} s, no sooner"
                    break
                await asyncio.sleep(max(again.after_s, self._backoff_s(attempts)))
            raise Unanswered(self._gone)

    def _refuse_strangers(self, again: _Again, long: bool, attempts: int) -> None:
        """Raise ErpError where there is no server, or one of something else, and never was another."""
        if again.unconnected and self._heard == -math.inf and (long or attempts > self._api.retries):
            speaks = " (does it speak https?)" if self._api.base_url.startswith("https:") else ""
            raise ErpError(
                f"{self._where}: nobody answers there ({again}); start the server, or correct the address{speaks}"
            )
        if again.foreign and not self._served and long:
            raise ErpError(
                f"{self._where}: something else answers there ({again}); give the address of a server whose "
                f"{self._api.endpoint.path} it is"
            )

    def _say_silent(self) -> None:
        """Say once that nothing came at all: an attempt may be waited for for minutes."""
        if not self._api.told and self._heard == -math.inf:
            self._api.told = True
            line = (
                f"note: {self._where}: no answer in {SILENT_S:g} s; each is waited for {self._api.timeout_s:g} s long"
            )
            tqdm.write(line, file=sys.stderr)

    def _say(self, again: _Again) -> None:
        """Say once why nothing comes: the waits between attempts grow to minutes."""
        if not self._api.told and time.monotonic() - self._answered > QUIET_S:
            self._api.told = True
            tqdm.write(f"note: {self._where}: {again}; it is asked again, and again", file=sys.stderr)

    async def models(self) -> bytes | None:
        """What the server answers when asked which models it has; None where it does not say, or not soon.

        Raises ErpError where nobody is there, or the key is refused.
        """
        since, attempts = time.monotonic(), 0
        patience = Patience(min(MODELS_S, self._api.timeout_s))
        while True:
            try:
                status, headers, answer = await self._exchange("GET", "/models", None, patience)
                break
            except Unanswered:
                return None
            except _Again as again:
                attempts += 1
                if not again.unconnected:
                    return None
                self._refuse_strangers(again, time.monotonic() - since > UNHEARD_S, attempts)
                left_s = since + UNHEARD_S - time.monotonic()
                await asyncio.sleep(min(self._backoff_s(attempts), max(left_s, 0.0)))
        if status == 401:
            self._raise_for(status, headers, answer)
        return answer if status == 200 else None

    def _backoff_s(self, attempts: int) -> float:
        longest = min(self._api.backoff_max_s, self._api.backoff_s * 2.0 ** (attempts - 1))
        return longest * random.uniform(0.5, 1)

    async def _exchange(
        self, method: str, path: str, content: bytes | None, patience: Patience
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer, whatever it says. Raises _Again where none came."""

        async def answer() -> tuple[int, Mapping[str, str], bytes]:
            asked = self._client.request(method, url, data=content, allow_redirects=False, proxy=self._proxy)
            async with asked as response:
                return response.status, response.headers, await _body(response)

        url = f"{self._api.base_url}{path}"
        try:
            return await patience.wait_for(answer())
        except TimeoutError as error:
            if isinstance(error, self._unconnected):
                raise _Again(f"no connection within {CONNECT_S:g} s", unconnected=True) from None
            raise _Again(f"{self._api.base_url}: no answer within {patience.longest_s:g} s") from None
        except self._errors as error:
            unconnected = isinstance(error, self._unconnected)
            reason = _no_connection(error) if unconnected else f"{self._api.base_url}: {_named(error)}"
            foreign = self._heard == -math.inf  # what hangs up before it ever said a word speaks of something else
            raise _Again(self._hidden(reason), unconnected=unconnected, foreign=foreign) from None

    async def _attempt(self, content: bytes) -> Any:
        status, headers, answer = await self._exchange("POST", self._api.endpoint.path, content, self._patience)
        self._heard = time.monotonic()
        if status == 429:
            self._pace.refused(retry_after_s(headers.get("retry-after", "")))
        if not 200 <= status < 300:
            self._raise_for(status, headers, answer)
        try:
            read = self._api.endpoint.read(answer)
        except ValueError:  # half a body, a proxy's page, an error under status 200
            foreign = answer.lstrip()[:1] not in (b"{", b"[")
            raise _Again(f"{status}, but no {self._api.endpoint.what}: {self._said(answer)}", foreign=foreign) from None
        self._served, self._answered = True, time.monotonic()
        self._pace.answered(headers)
        return read

    def _raise_for(self, status: int, headers: Mapping[str, str], answer: bytes) -> None:
        said = self._said(answer)
        if status in TRY_AGAIN:
            raise _Again(f"{status}: {said}", after_s=retry_after_s(headers.get("retry-after", "")))
        if status < 400:
            said = said or self._hidden(headers.get("location", "")) or "nothing"
            remedy = f"it points to another address: give that one, without {self._api.endpoint.path}"
        elif status in REMEDIES and not (status == 403 and self._served):  # 403 is also said of a single flagged prompt
            remedy = REMEDIES[status].format(
                node=self._api.node, env=self._api.api_key_env, path=self._api.endpoint.path
            )
        else:
            raise Unanswered(f"{status}: {said}", refused=True)
        raise ErpError(f"{self._where}: answers {status} ({said}); {remedy}")

    def _said(self, answer: bytes) -> str:
        text = self._hidden(message_in(answer))
        return text if len(text) <= 200 else f"{text[:200]}..."

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _no_connection(error: Exception) -> str:
    """Why there is none, without the library's address of it: ``base_url`` says that."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None) or 0
    reason = os.strerror(number) if number > 0 else getattr(cause, "strerror", None) or str(cause)
    return f"no connection: {reason}"


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}".rstrip()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises Unanswered where it has no end in sight."""
    if (response.content_length or math.inf) <= LARGEST and "content-encoding" not in response.headers:
        return await response.read()
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise Unanswered(f"{response.status}: an answer of more than {LARGEST // 2**20} MiB")
    return b"".join(pieces)
