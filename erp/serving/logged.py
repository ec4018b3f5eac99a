"""What a run's router would have earned on the requests of a gateway's decision log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.decisions.policy import Policy
from erp.errors import ErpError
from erp.importers.by_record import Values
from erp.importers.fields import Misread, maybe_text, number
from erp.importers.files import find
from erp.importers.gateway import Gateway
from erp.importers.ledger import Ledger
from erp.importers.records import Found
from erp.metrics.intervals import Floats, GroupBootstrap, Interval
from erp.metrics.off_policy import Logged, OffPolicy, off_policy
from erp.serving.decide import Moment, Predicted, decide
from erp.serving.predict import Predictor
from erp.table.known import unseen_split
from erp.table.schema import PROMPT_COLUMNS, RewardTable
from erp.table.texts import text_id
from erp.trained.model import Predictions
from erp.trained.router import TrainedRouter

_BATCH = 1024  # prompts that are predicted at once
_DRAWN = ("routed", "filtered", "explored")


@dataclass(frozen=True, eq=False)
class Drawn:
    """Requests that were left to chance and whose answers have feedback.

    Attributes:
        requests: a row each: prompt, category, member (of ``members``), reward, propensity, cost_usd, order (who could
            answer).
        members: of the run.
        left_out: reason -> requests that say nothing of another policy.
    """

    requests: pd.DataFrame
    members: tuple[str, ...]
    left_out: Mapping[str, int]


class _Draws(Gateway):
    """Rows of a log with what an estimate needs besides."""

    def __init__(self, members: Sequence[str]) -> None:
        super().__init__()
        self._members = frozenset(members)

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The row of a request that was left to chance and has feedback."""
        for row in super().of_record(found, ledger):
            values = found.values
            order, propensity = values.get("order"), number(values.get("propensity"), "propensity")
            if values.get("asked") is not None:
                ledger.leave_out("requests whose answers were judged before one was sent")
                continue
            if not isinstance(order, list) or row["model"] not in order or not 0 < (propensity or 0) <= 1:
                raise Misread("no order and propensity of the choice", f"id = {str(values.get('id'))[:60]}")
            if row.get("reward") is None:
                ledger.leave_out("requests without feedback")
            elif not self._members.issuperset(order):
                ledger.leave_out("requests that members could answer which the run does not know")
            elif values.get("path") not in _DRAWN or (propensity == 1 and len(order) > 1):
                ledger.leave_out("requests that were not left to chance")
            elif row["model"] != values.get("chosen"):
                ledger.leave_out("requests that another member answered, because the chosen one failed")
            else:
                category = maybe_text(values, "category")  # this request's own
                yield {**row, "category": category, "propensity": propensity, "order": tuple(order)}


def drawn_from(path: str, members: Sequence[str]) -> Drawn:
    """Read a log.

    Raises:
        ErpError: it cannot be read, or none of its requests is of use.
    """
    source, ledger = _Draws(members), Ledger()
    found = pd.DataFrame(list(source.rows(find(path, source.patterns), ledger)))
    left_out = {**ledger.left_out, **{f"lines that are not understood: {why}": n for why, n in ledger.faults.items()}}
    if not len(found):
        why = ", ".join(f"{reason} ({count:,})" for reason, count in left_out.items()) or "it is empty"
        raise ErpError(
            f"log = {path}: holds no request of which another policy could be judged: {why}; serve with "
            "gateway.explore=0.02 or more, and send feedback"
        )
    number = {name: m for m, name in enumerate(members)}
    requests = pd.DataFrame(
        {
            "prompt": found["prompt"],
            "category": found["category"].astype(object).where(found["category"].notna(), None),
            "member": found["model"].map(number),
            "reward": found["reward"].astype(float),
            "propensity": found["propensity"].astype(float),
            "cost_usd": found["cost_usd"].astype(float),
            "order": found["order"],
        }
    )
    return Drawn(requests, tuple(members), left_out)


def unseen(
    drawn: Drawn, saved: pd.DataFrame, near_duplicates: float | None, cache: Path
) -> tuple[Drawn, NDArray[np.int64]]:
    """The requests whose prompts a run did not learn from, and the group (N,) of each: of prompts that are alike.

    Args:
        drawn: all requests.
        saved: what the run's folder keeps of its split.
        near_duplicates: as it was trained with.
        cache: of near-duplicates.

    Raises:
        ErpError: it learnt from all of them.
    """
    code, texts = pd.factorize(drawn.requests["prompt"])
    prompts = pd.DataFrame(dict.fromkeys(PROMPT_COLUMNS), index=range(len(texts)), dtype=object)
    prompts["prompt"], prompts["prompt_id"] = texts, [f"p-{text_id(text)}" for text in texts]
    table = RewardTable(prompts, pd.DataFrame(), drawn.members, "feedback")
    split = unseen_split(saved, table, near_duplicates, cache=cache)
    kept = np.isin(code, split.test)
    left_out = dict(drawn.left_out)
    if not kept.all():
        left_out["requests whose prompts, or ones like them, the run learnt from"] = int((~kept).sum())
    rest = drawn.requests[kept].reset_index(drop=True)
    return Drawn(rest, drawn.members, left_out), split.groups[code[kept]]


@dataclass(frozen=True, eq=False)
class WouldBe:
    """What the router would have earned, and spent.

    Attributes:
        reward: of its choices.
        logged: what the gateway's earned.
        cost_usd: likewise of what they cost; None where some cost is not known.
        logged_cost_usd: likewise.
        shares: member -> share of the router's choices.
    """

    reward: OffPolicy
    logged: Interval
    cost_usd: OffPolicy | None
    logged_cost_usd: Interval | None
    shares: Mapping[str, float]


def would_be(trained: TrainedRouter, lambda_: float | None, drawn: Drawn, bootstrap: GroupBootstrap) -> WouldBe:
    """Decide the log's requests by a router, as a gateway decides them, and estimate what that is worth.

    Args:
        trained: a run.
        lambda_: in place of its policy, reward per shown unit of cost.
        drawn: its requests.
        bootstrap: over them.
    """
    requests, n = drawn.requests, len(drawn.requests)
    predictor = Predictor(trained, lambda_)
    policy = np.zeros((n, len(drawn.members)))
    rewards, costs = np.empty(policy.shape), np.zeros(policy.shape)
    means = np.nan_to_num(trained.mean_reward)
    try:
        for i, found in enumerate(_predicted(trained, requests, predictor.policy)):
            told = predictor.weighed(found, requests["prompt"].iloc[i], predictor.policy)
            moment = Moment(requests["order"].iloc[i], predictor.constant(predictor.lambda_), predictor.lambda_)
            for member, odds in _odds(told, moment).items():
                policy[i, drawn.members.index(member)] = odds
            usable = trained.scale == "reward" and np.isfinite(found.scores).all()
            rewards[i] = found.scores[0] if usable else means
            if trained.card.cost_kind == "usd" and np.isfinite(found.costs).all():
                costs[i] = found.costs[0]
    finally:
        predictor.close()
    shares = dict(zip(drawn.members, policy.mean(axis=0).tolist(), strict=True))
    reward, logged = _estimated(requests, "reward", policy, rewards, bootstrap)
    cost, paid = None, None
    if requests["cost_usd"].notna().all():
        cost, paid = _estimated(requests, "cost_usd", policy, costs, bootstrap)
    return WouldBe(reward, logged, cost, paid, shares)


def _odds(told: Predicted | None, moment: Moment) -> dict[str, float]:
    """How probably each member is chosen, whatever the coin that a prompt's text tosses says."""
    if told is None:
        return {decide(None, moment).member: 1.0}
    each = (decide(replace(told, chosen=name), moment) for name, weight in told.weights.items() if weight > 0)
    return {decision.member: decision.propensity for decision in each}


def _estimated(
    requests: pd.DataFrame, column: str, policy: Floats, predicted: Floats, bootstrap: GroupBootstrap
) -> tuple[OffPolicy, Interval]:
    values = requests[column].to_numpy(dtype=float)
    logged = Logged(requests["member"].to_numpy(dtype=np.int64), values, requests["propensity"].to_numpy(dtype=float))
    return off_policy(logged, policy, predicted, bootstrap), bootstrap.interval(values)


def _predicted(trained: TrainedRouter, requests: pd.DataFrame, policy: Policy) -> Iterator[Predictions]:
    """The predictions of each request's prompt, as a frame of one row."""
    for start in range(0, len(requests), _BATCH):
        some = requests.iloc[start : start + _BATCH]
        found = trained.read_by(policy, some["prompt"].tolist(), some["category"].tolist())
        yield from map(found.at, range(len(some)))
