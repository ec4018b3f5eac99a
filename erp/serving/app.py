"""The gateway as an ASGI application: every path it answers, and what stands in the head of an answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from erp.serving.door import Call, Door
from erp.serving.gateway import AUTO, Gateway
from erp.serving.refusal import Refusal
from erp.serving.routes import route

SCHEMA = "1"
"""Form of the ``x-erp-`` headers and of ``/route``; another number where one of them means something else."""
_OPEN = frozenset({"/healthz", "/readyz"})
_log = logging.getLogger("erp.serving")


class App:
    """Answers requests.

    Args:
        gateway: decides them.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.door = Door(gateway.config.tokens, int(gateway.config.body_mb * 1e6))
        self.paths: Mapping[str, Mapping[str, Callable[[Call], Awaitable[Response]]]] = {
            "/healthz": {"GET": self.healthz},
            "/v1/models": {"GET": self.models},
            "/route": {"POST": self.route},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(scope, receive)
        except Refusal as refusal:
            response = as_response(refusal)
        except Exception as error:  # ours, and the next request is to be answered all the same
            _log.error("%s failed: %s", scope["path"][:80], type(error).__name__)
            response = as_response(Refusal(500, "internal_error", "the gateway failed at this request"))
        response.headers["x-erp-schema"] = SCHEMA
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path = scope["path"]  # and nothing that a Host header could change
        call = self.door.call(scope, receive, path in _OPEN)
        if path not in self.paths:
            raise Refusal(404, "not_found", "there is no such path here")
        methods = self.paths[path]
        if call.method not in methods:
            raise Refusal(405, "method_not_allowed", f"this path takes {' and '.join(methods)}")
        return await methods[call.method](call)

    async def healthz(self, _: Call) -> Response:
        """The process answers."""
        return as_json({"status": "ok"})

    async def models(self, _: Call) -> Response:
        """The members, and the name under which a request is routed."""
        names = [AUTO, *self.gateway.served.predictor.members]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "erp"} for name in names]
        return as_json({"object": "list", "data": data})

    async def route(self, call: Call) -> Response:
        """The decision alone."""
        _, body = await self.door.body(call)
        return as_json(await route(self.gateway, call.headers, body))


def as_response(refusal: Refusal) -> Response:
    """An answer that refuses."""
    return Response(refusal.body, refusal.status, refusal.headers)


def as_json(content: Any) -> Response:
    """An answer of ours."""
    return Response(json.dumps(content), media_type="application/json")
