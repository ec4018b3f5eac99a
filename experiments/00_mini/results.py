"""`erp describe` for every reward model of a table, as one csv: python results.py results.csv [overrides].

`reward_model.name=a,b` names them. Overrides of Hydra's own are of sweeps, and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd

from erp.compose import compose
from erp.config import validate
from erp.programs.describe import run

MODELS = "reward_model.name="


def main(results: str, overrides: list[str]) -> None:
    """Write a row for each reward model and quantity; ``member`` is empty for those of the whole pool."""
    named = next((o.removeprefix(MODELS) for o in overrides if o.startswith(MODELS)), "verifier,yes_logit")
    rest = [o for o in overrides if not o.startswith((MODELS, "hydra"))]
    rows = [row for model in named.split(",") for row in described(compose("describe", [*rest, MODELS + model]))]
    pd.DataFrame(rows, columns=["reward_model", "quantity", "member", "value"]).round(6).to_csv(results, index=False)


def described(container: dict[str, Any]) -> Iterator[tuple[str, str, str | None, float | None]]:
    """Rows of one reward model."""
    facts = run(validate("describe", container))
    model, noise = facts["reward_model"], facts["noise"]
    for member, mean in facts["member_means"].items():
        yield model, "mean", member, mean
        yield model, "reliability", member, noise["reliability"][member]
    for name in ("random", "best_single", "category_oracle", "split_half_oracle", "oracle"):
        yield model, name, facts["best_single_member"] if name == "best_single" else None, facts[name]
    differences = noise["reliability_of_differences"]
    yield model, "reliability_pooled", None, noise["reliability_pooled"]
    yield model, "reliability_of_differences", None, None if differences is None else differences["pooled"]
    for name, share in (noise["components"]["shares"] or {}).items():
        yield model, f"share_{name}", None, share
    for name in ("prompts", "groups", "missing_cells"):
        yield model, name, None, facts[name]


if __name__ == "__main__":
    if len(sys.argv) < 2 or "=" in sys.argv[1]:
        sys.exit("usage: python results.py results.csv [overrides of erp describe]")
    main(sys.argv[1], sys.argv[2:])
