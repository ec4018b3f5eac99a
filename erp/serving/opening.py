"""A gateway out of its config: everything is checked and loaded before a port opens."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from erp.config import Plug
from erp.config.serve import Gateway as Config
from erp.config.serve import ServeConfig
from erp.costs.prices import PRICES, Price
from erp.decisions.sequential.policy import SequentialPolicy
from erp.errors import ErpError, shorten
from erp.runs import RunFolder
from erp.serving.app import App
from erp.serving.breaker import Breakers
from erp.serving.gateway import AUTO, Gateway, Served
from erp.serving.judge import Judge
from erp.serving.log import DecisionLog
from erp.serving.metrics import FOLDER, Metrics
from erp.serving.predict import Predictor
from erp.serving.spend import Spend
from erp.serving.state import State
from erp.serving.upstream import Upstreams
from erp.trained.drift import Measured, called, measured_in, other_encoder
from erp.trained.exported import TENSORS
from erp.trained.hub import located
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
    gateway, metrics = config.gateway, Metrics(os.environ.get(FOLDER) if config.workers > 1 else None)
    upstreams, judge = upstreams_of(gateway, metrics), judge_of(gateway, metrics)
    state = State(gateway.state, gateway.pins)
    made = Gateway(gateway, served(config, state), state)

    def again() -> None:
        made.served = served(config, state)

    log = DecisionLog(gateway.log)
    metrics.watch("erp_predictions_failed", "Predictions that failed, since the run was loaded",
                  lambda: made.served.predictor.failed)  # fmt: skip
    metrics.watch("erp_state_faults", "Accesses to the file of pins and spend that failed", lambda: state.faults)
    metrics.watch("erp_log_lines_lost", "Lines of the decision log that could not be written", lambda: log.lost)
    return App(made, upstreams, log, metrics, again, judge)


def upstreams_of(gateway: Config, metrics: Metrics) -> Upstreams:
    """The members' servers. Raises ErpError."""

    def noted(member: str, reason: str) -> None:
        metrics.failures.labels(member).inc()
        _log.warning("%s did not answer: %s", member, reason)

    return Upstreams(gateway, Breakers(gateway.breaker_failures, gateway.breaker_s), noted)


def judge_of(gateway: Config, metrics: Metrics) -> Judge | None:
    """What scores answers. Raises ErpError."""

    def noted(reason: str) -> None:
        metrics.judge_failures.inc()
        _log.warning("the judge gave no reward: %s", reason)

    if gateway.judge is None:
        return None
    return Judge(gateway.judge, Breakers(gateway.breaker_failures, gateway.breaker_s), noted)


def served(config: ServeConfig, state: State) -> Served:
    """The run, loaded and tried on one prompt. Raises ErpError."""
    folder = located(config.run, trust=config.trust)
    trained = load(folder, config.trust, config.weights_dir)
    endpoints = {endpoint.name for endpoint in config.gateway.members}
    if missing := [name for name in trained.members if name not in endpoints]:
        raise ErpError(
            f"gateway.members: {shorten(missing)} of run = {config.run} has no endpoint; every member of the run has "
            "one; name it as the run does"
        )
    if AUTO in trained.members:
        raise ErpError(f"gateway.members: a member is called {AUTO}, which is what asks for routing; name it otherwise")
    drift = None if config.backbone is None else _other(config.backbone, trained, RunFolder(folder), config)
    trained.predict(["hello"], [None])  # weights that are nowhere are missed here, and the first request does not wait
    _require_costs(config, trained)
    predictor = Predictor(trained, config.lambda_)
    _require_use_of_judge(config, predictor)
    return Served(predictor, Spend(config.gateway.budget, predictor.lambda_, _prices(folder, trained), state,
                                   _mean_cost(trained)), drift)  # fmt: skip


def _other(node: Plug, trained: TrainedRouter, folder: RunFolder, config: ServeConfig) -> Measured:
    """Let the router be asked with another encoder, of which it is known what that changes. Raises ErpError."""
    encoder = other_encoder(node, trained, config.weights_dir)
    if (found := measured_in(folder, encoder)) is None:
        exported = (folder.path / TENSORS).exists()
        run, then = ("<the run it is of>", ", and erp export") if exported else (config.run, "")
        raise ErpError(
            f"backbone = {called(node)}: what it changes in the decisions of run = {config.run} was not measured; "
            f"first erp evaluate run={run} backbone={called(node)}{then}, or leave it out"
        )
    trained.backbone = encoder
    return found


def _require_costs(config: ServeConfig, trained: TrainedRouter) -> None:
    """A budget works by what members cost; of a run that counts no costs there is nothing to weigh. Raises ErpError."""
    budget = config.gateway.budget
    if trained.card.cost_kind != "none":
        return
    why = f"run = {config.run} was trained with cost=none, so that no member is cheaper than another"
    if budget.mean_usd is not None:
        raise ErpError(
            f"gateway.budget.mean_usd = {budget.mean_usd:g}: {why}; train with cost=usd, or give usd_per_hour or "
            "usd_per_day with at_cap: refuse"
        )
    if budget.at_cap == "cheapest" and (budget.usd_per_hour or budget.usd_per_day):
        raise ErpError(f"gateway.budget.at_cap = cheapest: {why}; give refuse, or train with cost=usd")


def _require_use_of_judge(config: ServeConfig, predictor: Predictor) -> None:
    """A judge is for a policy that looks at rewards, and that nothing stands in the place of. Raises ErpError."""
    if config.gateway.judge is None:
        return
    policy, why = predictor.policy, None
    if config.gateway.budget.mean_usd is not None:
        why = "gateway.budget.mean_usd decides by a lambda of its own; give usd_per_hour or usd_per_day"
    elif config.lambda_ is not None:
        why = f"lambda = {config.lambda_:g} decides in place of the run's policy; leave it out"
    elif not isinstance(policy, SequentialPolicy):
        why = f"run = {config.run} has policy={policy.name}; serve one of cascade, cascade_routing or reservation"
    if why is not None:
        raise ErpError(f"gateway.judge: nobody would look at its rewards: {why}, or take the judge out")


def _prices(folder: Path, trained: TrainedRouter) -> dict[str, Price | None]:
    """What was said of the members' prices when the run was made."""
    origin = Origin.kept_in(RunFolder(folder))
    facts = {} if origin is None else origin.members
    found: dict[str, Price | None] = {}
    for name in trained.members:
        prices = [facts.get(name, {}).get(key) for key in PRICES]
        found[name] = None if prices[0] is None or prices[1] is None else Price(name, prices[0], prices[1])
    return found


def _mean_cost(trained: TrainedRouter) -> float | None:
    """A mean cost in the units of lambda, where these are not USD."""
    return None if trained.card.cost_kind == "usd" else float(trained.mean_cost.mean()) or None
