"""A gateway out of its config: everything is checked and loaded before a port opens."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erp.config import validate
from erp.config.serve import Gateway as Config
from erp.config.serve import ServeConfig
from erp.costs.prices import PRICES, Price
from erp.errors import ErpError, shorten
from erp.runs import RunFolder
from erp.serving.app import App
from erp.serving.breaker import Breakers
from erp.serving.gateway import AUTO, Gateway, Served
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.predict import Predictor
from erp.serving.spend import Spend
from erp.serving.state import State
from erp.serving.upstream import Upstreams
from erp.trained.origin import Origin
from erp.trained.router import TrainedRouter, load

_log = logging.getLogger("erp.serving")


def opened(config: ServeConfig) -> App:
    """The application.

    Raises:
        ErpError: the run cannot be opened, a member has no endpoint, a key is not set, a budget has no prices, a
            folder cannot be written to.
    """
    if config.workers > 1 and config.gateway.state is None:
        raise ErpError(
            f"gateway.state = null: {config.workers} workers share pins and spend by a file; give one, or workers=1"
        )
    gateway, metrics = config.gateway, Metrics()
    upstreams = upstreams_of(gateway, metrics)
    state = State(gateway.state, gateway.pins)
    made = Gateway(gateway, served(config, state), state)

    def again() -> None:
        made.served = served(config, state)

    log = DecisionLog(gateway.log)
    metrics.watch("erp_predictions_failed", "Predictions that failed, since the run was loaded",
                  lambda: made.served.predictor.failed)  # fmt: skip
    metrics.watch("erp_state_faults", "Accesses to the file of pins and spend that failed", lambda: state.faults)
    metrics.watch("erp_log_lines_lost", "Lines of the decision log that could not be written", lambda: log.lost)
    return App(made, upstreams, log, metrics, again)


def upstreams_of(gateway: Config, metrics: Metrics) -> Upstreams:
    """The members' servers. Raises ErpError."""

    def noted(member: str, reason: str) -> None:
        metrics.failures.labels(member).inc()
        _log.warning("%s did not answer: %s", member, reason)

    return Upstreams(gateway, Breakers(gateway.breaker_failures, gateway.breaker_s), noted)


def served(config: ServeConfig, state: State) -> Served:
    """The run, loaded and tried on one prompt. Raises ErpError."""
    trained = load(config.run, config.trust, config.weights_dir)
    endpoints = {endpoint.name for endpoint in config.gateway.members}
    if missing := [name for name in trained.members if name not in endpoints]:
        raise ErpError(
            f"gateway.members: {shorten(missing)} of run = {config.run} has no endpoint; every member of the run has "
            "one; name it as the run does"
        )
    if AUTO in trained.members:
        raise ErpError(f"gateway.members: a member is called {AUTO}, which is what asks for routing; name it otherwise")
    trained.predict(["hello"], [None])  # weights that are nowhere are missed here, and the first request does not wait
    predictor = Predictor(trained, config.lambda_)
    return Served(predictor, Spend(config.gateway.budget, predictor.lambda_, _prices(config, trained), state,
                                   _mean_cost(trained)))  # fmt: skip


def from_plain(container: Mapping[str, Any]) -> App:
    """The application of a worker, which is another process. Ends it where the run cannot be opened any more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return opened(validate("serve", container))
    except ErpError as error:
        for fault in error.faults:
            _log.error("%s", fault)
        raise SystemExit(3) from None  # by which its parent knows that starting it again is of no use


def _end_with_parent() -> None:
    """A worker whose parent was killed would hold the port for good."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _prices(config: ServeConfig, trained: TrainedRouter) -> dict[str, Price | None]:
    """What was said of the members' prices when the run was made."""
    origin = Origin.kept_in(RunFolder(Path(config.run)))
    facts = {} if origin is None else origin.members
    found: dict[str, Price | None] = {}
    for name in trained.members:
        prices = [facts.get(name, {}).get(key) for key in PRICES]
        found[name] = None if prices[0] is None or prices[1] is None else Price(name, prices[0], prices[1])
    return found


def _mean_cost(trained: TrainedRouter) -> float | None:
    """A mean cost in the units of lambda, where these are not USD."""
    return None if trained.card.cost_kind == "usd" else float(trained.bundle.train_mean_cost.mean()) or None
