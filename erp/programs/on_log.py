"""``erp evaluate log=<folder>``: what a router would have earned on the requests of a gateway's decision log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from erp.config import EvaluateConfig
from erp.files import cache_folder, jsonable, write_json
from erp.metrics.intervals import GroupBootstrap, better_than_constant
from erp.metrics.off_policy import OffPolicy
from erp.report.text import spread_text
from erp.runs import RunFolder, make_folder, run_hash
from erp.serving.logged import WouldBe, drawn_from, unseen, would_be
from erp.trained.router import load

FEW = 300
"""Effective requests below which intervals are known to be too narrow."""
_VERDICTS = {"yes": "more than the gateway", "no": "no more than the gateway", "undecided": "undecided"}


def evaluate_on_log(config: EvaluateConfig) -> tuple[Path, dict[str, Any]]:
    """Estimate, and keep ``evaluations/<hash>/off_policy.json`` under the run's folder.

    Returns:
        The new folder, and what the file holds: of ``reward`` and ``cost_usd`` (null where a cost is not known) the
        three estimates, ``gain`` and ``effective`` of `erp.metrics.off_policy.OffPolicy` and ``logged``, the gateway's
        own mean; ``lambda``; ``requests``; ``groups`` of prompts that are alike; ``left_out``; ``shares`` of members.

    Raises:
        ErpError: the run or the log cannot be read, or the log says nothing of another policy.
    """
    trained = load(config.run, config.trust, config.weights_dir)
    folder = RunFolder(Path(config.run))
    settings = folder.load_settings()
    drawn, groups = unseen(
        drawn_from(str(config.log), trained.members),
        folder.load_split(),
        settings.split.near_duplicates,
        cache_folder(config.cache_dir),
    )
    bootstrap = GroupBootstrap(groups, **settings.bootstrap.model_dump())
    would = would_be(trained, config.lambda_, drawn, bootstrap)
    found: dict[str, Any] = jsonable(
        {
            "lambda": config.lambda_,
            "requests": len(drawn.requests),
            "groups": bootstrap.groups,
            "left_out": drawn.left_out,
            **_told(would),
        }
    )
    content = str(sorted(zip(groups.tolist(), drawn.requests["reward"], drawn.requests["member"], strict=True)))
    out = folder.path if config.out is None else Path(config.out).expanduser() / folder.path.resolve().name
    target = out / "evaluations" / run_hash({"lambda": config.lambda_}, content)
    make_folder(target, out)
    write_json(target / "off_policy.json", found)
    return target, found


def as_text(folder: Path, found: Mapping[str, Any]) -> str:
    """What the command prints."""
    reward, cost = found["reward"], found["cost_usd"]
    lines = [
        f"requests that were left to chance, with feedback: {found['requests']:,} "
        f"(as good as {reward['effective']:,.0f} of this policy's own)",
        *_lines("reward of a request", reward),
        *([] if cost is None else _lines("USD of a request", cost)),
        "its choices: " + ", ".join(f"{name} {share:.1%}" for name, share in found["shares"].items()),
    ]
    lines += [f"note: {count:,} left out: {reason}" for reason, count in found["left_out"].items()]
    if reward["effective"] < FEW:
        lines.append(
            f"note: with fewer than {FEW} effective requests intervals are too narrow; explore more, or wait for more"
        )
    return "\n".join([*lines, str(folder)])


def _told(would: WouldBe) -> dict[str, Any]:
    def section(estimate: OffPolicy, logged: Any) -> dict[str, Any]:
        return {**asdict(estimate), "logged": asdict(logged)}

    return {
        "reward": {**section(would.reward, would.logged), "earns_more": better_than_constant(would.reward.gain)},
        "cost_usd": None if would.cost_usd is None else section(would.cost_usd, would.logged_cost_usd),
        "shares": would.shares,
    }


def _lines(what: str, found: Mapping[str, Any]) -> list[str]:
    def text(name: str, signed: bool = False) -> str:
        values = [float("nan") if found[name][key] is None else found[name][key] for key in ("mean", "low", "high")]
        return spread_text(*values, signed=signed)

    verdict = f": {_VERDICTS[found['earns_more']]}" if "earns_more" in found else ""
    return [
        f"{what}: {text('doubly_robust')} doubly robust, {text('inverse_propensity')} by inverse propensity, "
        f"{text('self_normalised')} self-normalised",
        f"  the gateway's own: {text('logged')}; difference {text('gain', signed=True)}{verdict}",
    ]
