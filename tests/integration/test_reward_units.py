"""Rewards in other units, or far from 0, are the same rewards from the table to the report."""

import re

import numpy as np
import pandas as pd
import pytest

from erp.programs.train import train
from tests.integration.tables import long_frame, results

UNITS = [(1e8, 1.0), (0.0, 1e6), (0.0, 1e-6)]  # offset, scale
ROUTERS = ["ridge", "knn", "mlp", "regret"]
AUDITS = ("r2", "pearson", "spearman", "top1_accuracy", "pairwise_order_accuracy")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(router, offset, scale)`: the results of a run, and whom it chose."""
    folder, frame, known = tmp_path_factory.mktemp("units"), long_frame(missing=0.05), {}

    def run(router, offset, scale):
        if (router, offset, scale) not in known:
            path = folder / f"{offset:g}_{scale:g}.parquet"
            frame.assign(reward=offset + scale * frame["reward"]).to_parquet(path)
            found = train(
                ["data=table", f"data.path={path}", "backbone=hashing", "backbone.dimensions=64", "tracking=off",
                 "bootstrap.draws=100", "figures=false", "trainer.progress=false", "trainer.max_epochs=3",
                 f"router={router}", f"out={folder}", f"cache_dir={folder / 'cache'}", f"policy.lambda={2 * scale}"]
            ).folder  # fmt: skip
            known[router, offset, scale] = results(found), pd.read_parquet(found / "predictions.parquet")["chosen"]
        return known[router, offset, scale]

    return run


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize(("offset", "scale"), UNITS)
def test_choices_and_what_is_said_of_predictions_stay(made, router, offset, scale):
    (plain, chosen), (found, also) = made(router, 0.0, 1.0), made(router, offset, scale)
    assert (chosen == also).mean() >= (0.98 if router in ("mlp", "regret") else 1.0)  # training repeats rounding
    assert chosen.groupby(np.arange(len(chosen)) % 3).mean().max() < 0.99  # a choice that could have moved
    for member, before in plain["prediction"]["members"].items():
        after = found["prediction"]["members"][member]
        for name in AUDITS:
            if before.get(name) is not None:
                assert after[name] == pytest.approx(before[name], abs=2e-3), (member, name)
    assert found["noise"]["reliability"] == pytest.approx(plain["noise"]["reliability"], abs=1e-6)
    for row in ("router", "best_single", "oracle", "category_mean"):
        moved = offset + scale * plain["routing"][row]["reward"]
        assert found["routing"][row]["reward"] == pytest.approx(moved, rel=1e-12, abs=1e-9 * scale)
    gained = plain["routing"]["router"]["gain_vs_best_single"]
    for name, value in found["routing"]["router"]["gain_vs_best_single"].items():
        assert value == pytest.approx(scale * gained[name], rel=1e-6, abs=1e-6 * scale)


def test_rewards_far_from_0_are_shown_apart(made):
    found, _ = made("ridge", 1e8, 1.0)
    said = next(line for line in found["verdict"].splitlines() if line.startswith("Its policy"))
    own, best = re.findall(r"earns ([\d.,]+) at", said)
    assert own != best
    assert float(own.replace(",", "")) - 1e8 == pytest.approx(found["policy"]["reward"] - 1e8, abs=0.5)
