"""Every row of the report at lambda = 0: the router and its references, with paired gains and shares of headroom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.alternatives import Cascade, favourite_of_all, run_cascade
from erp.decisions.choice import Outcome, uniform
from erp.decisions.policy import finite
from erp.decisions.references import best_single, oracle
from erp.evaluation.held_out import Floats, HeldOut, means, plain
from erp.metrics.headroom import headroom_recovered
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.significance import mcnemar
from erp.rounding import difference
from erp.table.samples import Samples
from erp.targets import SplitHalf


@dataclass(frozen=True, eq=False)
class Sampled:
    """What only separate samples can tell. Their ``rows`` are positions among the complete held-out prompts.

    Attributes:
        samples: of the prompts that have them in every cell; None where no prompt has.
        halves: the split-half oracle; None at K = 1.
        cascade: the best one, chosen on validation; None where there is none.
        cascades: the best ones for rising mean costs, where a policy that looks at rewards is set beside them.
        scoring: what scoring one answer costs.
    """

    samples: Samples | None = None
    halves: SplitHalf | None = None
    cascade: Cascade | None = None
    cascades: tuple[Cascade, ...] = ()
    scoring: float = 0.0


def reference_rows(held_out: HeldOut, sampled: Sampled) -> dict[str, Outcome]:
    """What every row of the report earns and costs at lambda = 0."""
    rows = {
        "random": held_out.outcome(uniform(*held_out.size)),
        "best_single": held_out.constant(held_out.single()),
        "best_single_hindsight": held_out.constant(_hindsight(held_out)),
        "oracle": held_out.outcome(oracle(held_out.rewards, held_out.costs)),
        "router": held_out.routed(held_out.choice(0.0)),
    }
    if held_out.category_scores is not None:
        rows["category_mean"] = held_out.outcome(held_out.choice(0.0, held_out.category_scores))
    if held_out.guessed_category_scores is not None:
        rows["category_mean_predicted"] = held_out.outcome(held_out.choice(0.0, held_out.guessed_category_scores))
    # Rows that sample first can stand beside the others only where the samples are of the same prompts.
    if sampled.samples is not None and len(sampled.samples.rows) == held_out.size[0]:
        paid = held_out.costs + sampled.scoring
        rows["sample_all"] = favourite_of_all(sampled.samples, paid)
        if sampled.cascade is not None:
            rows["cascade"] = run_cascade(sampled.cascade, sampled.samples, paid)
    return rows


def routing_gains(held_out: HeldOut, rows: Mapping[str, Outcome]) -> dict[str, Floats]:
    """Per prompt: every row's and member's gain over the best single, and the router's over the category mean."""
    base = rows["best_single"].reward[:, None]
    gains = {
        "rows": difference(np.stack([row.reward for row in rows.values()], axis=1), base),
        "members": difference(held_out.rewards, base),
    }
    if "category_mean" in rows:
        gains["router_over_category_mean"] = difference(rows["router"].reward, rows["category_mean"].reward)[:, None]
    return gains


def routing_section(
    held_out: HeldOut,
    rows: Mapping[str, Outcome],
    intervals: Mapping[str, list[Interval]],
    sampled: Sampled,
    bootstrap: GroupBootstrap,
) -> dict[str, Any]:
    """The section ``routing``: every row with its paired gain over the best single member chosen on train."""
    # Rows that look at an answer before they choose are no part of what choosing a member can gain.
    choosing = {name: row for name, row in rows.items() if name not in ("sample_all", "cascade")}
    naive = _shares(choosing, rows["oracle"].reward, bootstrap)
    halves = _shares_of_half(choosing, sampled.halves, bootstrap)
    found: dict[str, Any] = {
        "category_mean": None,
        "category_mean_predicted": None,
        "sample_all": None,
        "cascade": None,
    }
    for (name, result), gain in zip(rows.items(), intervals["rows"], strict=True):
        found[name] = {
            **means(result),
            **_headroom("headroom", naive.get(name)),
            **_headroom("headroom_split_half", halves.get(name)),
            "gain_vs_best_single": plain(gain),
        }
    found["best_single"]["member"] = held_out.members[held_out.single()]
    found["best_single_hindsight"]["member"] = held_out.members[_hindsight(held_out)]
    if found["cascade"] is not None and sampled.cascade is not None:
        chain = [held_out.members[m] for m in sampled.cascade.chain]
        found["cascade"] |= {"chain": chain, "threshold": finite(sampled.cascade.threshold)}
    always = np.flatnonzero(rows["router"].shares == 1)
    found["router"] |= {
        "constant_member": held_out.members[always[0]] if len(always) else None,
        **_tests(held_out, rows, bootstrap),
    }
    difference = intervals.get("router_over_category_mean")
    found["gain_vs_category_mean"] = None if difference is None else plain(difference[0])
    cost, reward = held_out.means
    found["members"] = {
        name: {
            "reward": reward[m], "cost": cost[m], "share": rows["router"].shares[m], "gain_vs_best_single": plain(gain)
        }
        for m, (name, gain) in enumerate(zip(held_out.members, intervals["members"], strict=True))
    }  # fmt: skip
    return found


def _hindsight(held_out: HeldOut) -> int:
    cost, reward = held_out.means
    return best_single(reward, cost)


def _headroom(key: str, share: Interval | None) -> dict[str, Any]:
    return {
        f"{key}_recovered": None if share is None else share.mean,
        f"{key}_interval": None if share is None else {"low": share.low, "high": share.high},
    }


def _shares(
    rows: Mapping[str, Outcome], best: NDArray[np.floating], bootstrap: GroupBootstrap, at: Any = slice(None)
) -> dict[str, Interval]:
    """Share of the headroom below ``best`` by row; empty where there may be none."""
    rewards = np.stack([row.reward[at] for row in rows.values()], axis=1)
    shares = headroom_recovered(rewards, rows["best_single"].reward[at], best, bootstrap)
    return {} if shares is None else dict(zip(rows, shares, strict=True))


def _shares_of_half(
    rows: Mapping[str, Outcome], halves: SplitHalf | None, bootstrap: GroupBootstrap
) -> dict[str, Interval]:
    """The same against the split-half oracle, on the prompts that have one."""
    if halves is None:
        return {}
    everything = len(halves.rows) == len(rows["router"].reward)
    return _shares(rows, halves.reward, bootstrap if everything else bootstrap.of(halves.rows), halves.rows)


def _tests(held_out: HeldOut, rows: Mapping[str, Outcome], bootstrap: GroupBootstrap) -> dict[str, float | None]:
    """p-values of "the router earns what the best single does": bootstrap, and McNemar's where rewards are 0 or 1."""
    router, single = rows["router"].reward, rows["best_single"].reward
    binary = bool(np.isin(held_out.rewards, (0.0, 1.0)).all())
    alone = bootstrap.groups == len(router)
    return {
        "p_vs_best_single": bootstrap.p_values(difference(router, single)[:, None])[0],
        "mcnemar_vs_best_single": mcnemar(router, single) if binary and alone else None,
    }
