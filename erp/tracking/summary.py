"""What of a run stands in its W&B summary and its tags: keys that stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Nested results become flat summary keys; these parts are tables, curves or texts and travel as such.
NOT_SUMMARY = ("run", "curves", "interval", "shares", "verdict", "level")
POOL_LENGTH = 48  # of a pool's name made of its members' names


def summary(results: Mapping[str, Any]) -> dict[str, float | str | None]:
    """The headline keys, and every number of ``results.json`` under its own path."""
    nested = flattened({key: value for key, value in results.items() if key not in NOT_SUMMARY})
    return {**nested, **headline(results)}


def headline(results: Mapping[str, Any]) -> dict[str, float | str | None]:
    """The few keys that a dashboard reads. `docs/dashboard.md` says what they are; a test holds the two together."""
    told = {
        "r2": results["prediction"]["r2_pooled"],
        "r2_ceiling": results["prediction"]["r2_pooled_ceiling"],
        "seconds": results["run"]["seconds"],
        "objective/value": results["objective"]["value"],
    }
    if results["routing"] is None:  # no test prompt has a reward of every member
        return told
    policy, equal_cost = results["policy"], results["equal_cost"]["policy"]
    return {
        "verdict": equal_cost["verdict"],
        "reward": policy["reward"],
        "cost": policy["cost"],
        **_interval("gain", policy["gain_vs_best_single"]),
        **_interval("gain_at_equal_cost", equal_cost["difference"]),
        "headroom_recovered": results["routing"]["router"]["headroom_recovered"],
        "area": results["audc"].get("router"),
        "regret": results["regret"],
        **told,
    }


def _interval(name: str, found: Mapping[str, float]) -> dict[str, float]:
    return {name: found["mean"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, float | str | None]:
    """Nested mappings as slash-separated keys; lists are left out."""
    flat: dict[str, float | str | None] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}/"))
        elif value is None or isinstance(value, int | float | str):
            flat[f"{prefix}{key}"] = value
    return flat


def choices(config: Mapping[str, Any], reward_model: str, table: str) -> dict[str, str]:
    """What was chosen of every group, by name: tags (``router=ridge``), and what a dashboard groups by.

    They stand in W&B's config beside the groups themselves, because under a W&B sweep over ``router`` that key holds
    the option's name alone.
    """
    named = {group: config[group]["name"] for group in ("router", "backbone", "policy") if "name" in config[group]}
    return {**named, "reward_model": reward_model, "pool": pool_name(config["pool"]["members"]), "data": table}


def pool_name(members: list[Mapping[str, Any]] | None) -> str:
    """``all`` of the table, the members' names where they are short, else how many and the first."""
    if members is None:
        return "all"
    names = [str(member["name"]) for member in members]
    joined = "+".join(names)
    return joined if len(joined) <= POOL_LENGTH else f"{len(names)} members, {names[0]} to {names[-1]}"[:POOL_LENGTH]
