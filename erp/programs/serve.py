"""``erp serve``: a trained router stands in front of real models."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from erp.config import validate
from erp.config.serve import ServeConfig
from erp.errors import ErpError, one_line
from erp.programs.launch import launch

_RESTART_S = 120
"""How long a worker may take to load a run."""


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("serve", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: ServeConfig = validate("serve", container)
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # if there is one, it is another program's
    _require_library()
    logging.basicConfig(stream=sys.stderr, format="erp serve: %(message)s", level=logging.WARNING)
    if config.check:
        from erp.serving.trial import as_text, tried

        trials = asyncio.run(tried(config.gateway))
        print(as_text(trials))
        if faults := [trial.fault for trial in trials if trial.fault]:
            raise ErpError(*faults)
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is being loaded is new; a gateway that runs heeds it
    try:
        _serve(config, container)
    finally:
        signal.signal(signal.SIGHUP, before)


def _serve(config: ServeConfig, container: dict[str, Any]) -> None:
    import uvicorn

    from erp.report.drift import drift_text
    from erp.serving import workers
    from erp.serving.connection import Connection
    from erp.serving.opening import opened

    options: dict[str, Any] = {
        "http": Connection, "ws": "none", "lifespan": "on", "log_config": None, "access_log": False,
        "proxy_headers": False, "server_header": False,
        "timeout_keep_alive": 75, "timeout_worker_healthcheck": _RESTART_S, "workers": config.workers,
    }  # fmt: skip
    app = opened(config)  # of several workers too: every fault of the input is told once, and before they start
    with _listening(config.host, config.port) as at:
        host, port = at.getsockname()[:2]
        if not config.gateway.tokens and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            print(f"warning: {host} is open to the network, and gateway.tokens names none: whoever reaches it may ask "
                  "every member at your cost; name tokens", file=sys.stderr)  # fmt: skip
        members = ", ".join(map(one_line, app.gateway.served.predictor.members))
        print(f"serving http://{host}:{port}/v1, model erp/auto, members {members}", flush=True)
        if (found := app.gateway.served.drift) is not None:
            told = drift_text(found.drift, found.level, found.cost_unit)
            print(f"{told} Measured on {one_line(found.table)}, by the run's own policy.", flush=True)
        if config.workers == 1:
            uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[at])
            return
        del app
        workers.serve(container, options, at)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ErpError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(1024)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise ErpError(
            f"port = {port}: {host} cannot be listened on ({error.strerror}); give another port or host"
        ) from None
    found.set_inheritable(True)
    return found


def _require_library() -> None:
    try:
        import httpx2  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ErpError(f"serve: needs {error.name}, which is not installed; pip install 'erp[serve]'") from None
