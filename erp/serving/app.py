"""The gateway as an ASGI application: every path that it answers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from erp.errors import ErpError
from erp.serving.asked import Kind
from erp.serving.door import Call, Door
from erp.serving.gateway import AUTO, Gateway
from erp.serving.judge import Judge
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.page import page
from erp.serving.refusal import SCHEMA, Refusal, unfit
from erp.serving.relay import Relay
from erp.serving.routes import route
from erp.serving.upstream import Upstreams

_OPEN = frozenset({"/", "/healthz", "/readyz"})
_log = logging.getLogger("erp.serving")
Handler = Callable[[Call], Awaitable[Response | None]]


class App:
    """Answers requests.

    Args:
        gateway: decides them.
        upstreams: answer them.
        log: keeps decisions.
        metrics: count.
        again: loads the run anew and puts it in the place of the one that decides; raises ErpError.
        judge: scores answers; None for none.
    """

    def __init__(
        self,
        gateway: Gateway,
        upstreams: Upstreams,
        log: DecisionLog,
        metrics: Metrics,
        again: Callable[[], None] = lambda: None,
        judge: Judge | None = None,
    ) -> None:
        self.gateway, self.upstreams, self.log, self.metrics = gateway, upstreams, log, metrics
        self._again, self._judge = again, judge
        self.relay = Relay(gateway, upstreams, log, metrics, judge)
        self.door = Door(gateway.config.tokens, int(gateway.config.body_mb * 1e6))
        self.paths: Mapping[str, Mapping[str, Handler]] = {
            **({"/": {"GET": self.page}} if gateway.config.page else {}),
            "/recent": {"GET": self.recent},
            "/healthz": {"GET": self.healthz},
            "/readyz": {"GET": self.readyz},
            "/metrics": {"GET": self.counts},
            "/v1/models": {"GET": self.models},
            "/v1/chat/completions": {"POST": partial(self.answer, "chat")},
            "/v1/responses": {"POST": partial(self.answer, "responses")},
            "/route": {"POST": self.route},
            "/feedback": {"POST": self.feedback},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        if scope["type"] != "http":
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        response: Response | None
        try:
            with self.metrics.active.track_inprogress():
                response = await self._answer(scope, receive, noted)
        except Refusal as refusal:
            response = as_response(refusal)
        except Exception as error:  # ours, and the next request is to be answered all the same
            _log.error("%s failed: %s", scope["path"][:80], type(error).__name__)
            response = as_response(Refusal(500, "internal_error", "the gateway failed at this request"))
        if response is not None and not status:
            await response(scope, receive, noted)
        known = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests.labels(known, str(status or "gone")).inc()
        self.metrics.settle()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Between the first and the last request: a hang-up signal loads the run anew."""
        loop = asyncio.get_running_loop()
        await receive()
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
            loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, self._reload))
        gc.freeze()  # what is loaded stays: no request waits while it is searched for garbage
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        self.log.close()
        self.gateway.state.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def close(self) -> None:
        """Let go of all connections."""
        await self.upstreams.close()
        if self._judge is not None:
            await self._judge.close()

    def _reload(self) -> None:
        """The run as its folder is now; one that cannot be served leaves the gateway as it is."""
        try:
            self._again()
        except ErpError as error:
            for fault in error.faults:
                _log.error("the run is not loaded anew: %s", fault)
        except Exception as error:  # the one that is served goes on, whatever it is
            _log.error("the run is not loaded anew: %s", type(error).__name__)
        else:
            _log.warning("the run is loaded anew")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        path = scope["path"]  # and nothing that a Host header could change
        call = self.door.call(scope, receive, send, path in _OPEN)
        if path not in self.paths:
            raise Refusal(404, "not_found", "there is no such path here")
        methods = self.paths[path]
        if call.method not in methods:
            raise Refusal(405, "method_not_allowed", f"this path takes {' and '.join(methods)}")
        return await methods[call.method](call)

    async def answer(self, kind: Kind, call: Call) -> None:
        """A chat completion or a response, from a member."""
        text, body = await self.door.body(call)
        await _while_there(call.receive, self.relay.answer(call, text, body, kind, call.send))

    async def page(self, _: Call) -> Response:
        """A page to try prompts on; what it shows it asks for with a token."""
        return page()

    async def recent(self, _: Call) -> Response:
        """The last decisions of this worker, the newest first, and how many requests each member had."""
        asked = self.relay.asked
        shares = {name: asked.get(name, 0) for name in self.gateway.served.predictor.members}
        return as_json({"decisions": list(self.relay.recent), "shares": shares})

    async def healthz(self, _: Call) -> Response:
        """The process answers."""
        return as_json({"status": "ok"})

    async def readyz(self, _: Call) -> Response:
        """Whether a member can be asked, by what became of requests; nobody is asked for it."""
        names = self.gateway.served.predictor.members
        resting = sum(self.upstreams.rests(name) for name in names)
        ready = resting < len(names)
        found = {"status": "ready" if ready else "resting", "members": len(names), "resting": resting}
        return as_json(found, 200 if ready else 503)

    async def counts(self, _: Call) -> Response:
        """What Prometheus reads."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self, _: Call) -> Response:
        """The members, and the name under which a request is routed."""
        names = [AUTO, *self.gateway.served.predictor.members]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "erp"} for name in names]
        return as_json({"object": "list", "data": data})

    async def route(self, call: Call) -> Response:
        """The decision alone."""
        _, body = await self.door.body(call)
        return as_json(await route(self.gateway, call.headers, body))

    async def feedback(self, call: Call) -> Response:
        """What an answer turned out to be worth."""
        _, body = await self.door.body(call)
        id_, reward = body.get("id"), body.get("reward")
        if self.gateway.config.log.folder is None:
            raise Refusal(404, "no_log", "this gateway keeps no decision log (gateway.log.folder)")
        if not isinstance(id_, str) or not 0 < len(id_) <= _LONGEST_ID:
            raise unfit("id: is missing; give the x-erp-id of an answer")
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not abs(reward) < _MOST_REWARD:
            raise unfit("reward: is no number; give one, in the units of the run's rewards")
        self.log.feedback(id_, float(reward))
        return as_json({"status": "ok"})


_LONGEST_ID = 64
_MOST_REWARD = 1e12


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work while the client waits for it: whoever goes away takes the call of a member along."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = [task for task in tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
    if not tasks[0].cancelled():
        tasks[0].result()


def as_response(refusal: Refusal) -> Response:
    """An answer that refuses."""
    return Response(refusal.body, refusal.status, refusal.headers)


def as_json(content: Any, status: int = 200) -> Response:
    """An answer of ours."""
    return Response(json.dumps(content), status, {"x-erp-schema": SCHEMA}, media_type="application/json")
