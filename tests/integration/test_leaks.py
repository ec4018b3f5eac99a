"""Test is read once: with other rewards, costs and categories there a run learns and chooses the same bits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import erp as package
from erp.compose import compose, options
from erp.errors import ErpError
from erp.programs.train import train
from erp.table.read import read_table
from erp.table.splits import split_table
from tests.integration.tables import long_frame, results

ROUTERS = sorted(options("router"))
COMMON = (
    "data=table", "data.path=nowhere.parquet", "backbone=hashing", "backbone.dimensions=64", "tracking=off",
    "bootstrap.draws=100", "figures=false", "trainer.progress=false", "trainer.max_epochs=2",
)  # fmt: skip
# With each policy another of the things that are learnt, chosen or paid for beside the router.
POLICIES = {
    "lambda": ("policy.lambda=0.002", "objective=area"),
    "budget": ("cost.predict=true",),
    "tolerance": ("policy.tau=0.1", "category=predicted"),
    "guarantee": ("policy.alpha=0.4", "policy.lambda=0.002", "category_block=0.5"),
    "guarded": ("policy.lambda=0.002", "policy.z=0.5", "labels.prompts=50"),
    "best_route": ("cost.scoring=2",),
    "cascade": ("policy.bar=predicted", "cost.scoring=2"),
    "cascade_routing": ("cost.predict=true",),
    "reservation": ("policy.law=normal",),
}
LESS = {  # time: its other candidates are routers of their own here
    "auto": ("router.folds=3", *(f"~router.candidates.{name}" for name in ROUTERS if name in (
        "cluster_mean", "kernel_ridge", "zooter", "ranking", "soft_category_mean"))),
    "best_route": ("router.n=2",),
    "hybrid_llm": ("pool.members=[synthetic-1b,synthetic-3b]",),
    "random_forest": ("router.trees=10",),
    "gradient_boosting": ("router.trees=20",),
}  # fmt: skip
OTHERS = {
    "best of two": ("target.kind=best_of_n", "target.n=2", "policy=budget"),
    "a quantile": ("target.kind=quantile", "policy.lambda=0.002"),
    "fitted backbone": ("backbone=tfidf", "backbone.dimensions=16", "policy.lambda=0.002"),
    "own split": ("split.by=table", "policy.lambda=0.002"),
    "assumed lengths": ("cost.assume_completion_tokens=300", "policy.lambda=0.002"),
}


@pytest.fixture(scope="module")
def frame(tmp_path_factory) -> pd.DataFrame:
    """Three members of two samples; some cells are missing, and the lengths of a third of the answers unknown."""
    frame = long_frame(prompts=150, missing=0.05).drop(columns="cost_usd")
    frame.loc[np.random.default_rng(1).random(len(frame)) < 0.35, "completion_tokens"] = None
    frame.to_parquet(path := tmp_path_factory.mktemp("split") / "table.parquet")
    table = read_table(path)
    split = split_table(table, by="group", seed=0, test=0.5, validation=0.1, near_duplicates=0.8)
    part = {prompt: name for name in ("train", "validation", "test") for prompt in getattr(split, name)}
    ids = table.prompts["prompt_id"]
    return frame.assign(split=frame["prompt_id"].map({ids[row]: name for row, name in part.items()}))


def replaced(frame: pd.DataFrame, part: str, seed: int = 5) -> pd.DataFrame:
    """Other rewards, lengths and categories there: larger, some missing, a third sample, a category of its own."""
    random, rows = np.random.default_rng(seed), frame["split"] == part
    mine = frame[rows].copy()
    gone = mine.groupby(["prompt_id", "model"])["reward"].transform(lambda cell: random.random() < 0.1)
    mine["reward"] = np.where(gone, np.nan, 100 * random.standard_normal(len(mine)))
    mine["prompt_tokens"] = random.integers(1, 5000, len(mine))
    unknown = random.random(len(mine)) < 0.5
    mine["completion_tokens"] = np.where(unknown, np.nan, random.integers(1, 90_000, len(mine)))
    ids = mine["prompt_id"].unique()
    of = dict(zip(ids, random.permutation(frame["category"].unique())[random.integers(0, 3, len(ids))], strict=True))
    mine["category"] = mine["prompt_id"].map({**of, ids[0]: "a new one"})
    more = mine[mine["sample"] == 0].sample(frac=0.5, random_state=seed).assign(sample=2)
    return pd.concat([frame[~rows], mine, more])


@pytest.fixture(scope="module")
def made(tmp_path_factory, frame):
    """`made(table, arguments)`: all that a run on it learnt and chose, or what it was refused for."""
    folder, asked = tmp_path_factory.mktemp("runs"), {}
    prompts = frame.drop_duplicates("prompt_id")

    def run(table: pd.DataFrame, *arguments: str) -> dict[str, Any]:
        if arguments not in asked:  # composing takes half of the time
            asked[arguments] = compose("train", [*COMMON, f"cache_dir={folder / 'cache'}", *arguments])
        config = copy.deepcopy(asked[arguments])
        table.to_parquet(path := folder / "table.parquet")
        config["data"]["path"], config["out"] = str(path), str(folder)
        try:
            return learnt(train(config).folder, prompts)
        except ErpError as error:
            return {"refused": str(error)}

    return run


def learnt(run: Path, prompts: pd.DataFrame) -> dict[str, Any]:
    checkpoint = torch.load(run / "checkpoint.ckpt", weights_only=True)
    found, predictions = results(run), pd.read_parquet(run / "predictions.parquet")
    routes = package.load(run).route(prompts["prompt"].tolist(), category=prompts["category"].tolist())
    return {
        "checkpoint": plain(checkpoint["state_dict"]),
        "card": plain(checkpoint["card"]),
        "objective": found["objective"],
        "chosen": [found["chosen_on_validation"], found["run"]["chosen"]],
        "validation": bits(predictions[predictions["split"] == "validation"]),
        "routes": bits(routes),
    }


def plain(value: Any) -> Any:
    """With tensors as their bits, which can be compared."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def bits(frame: pd.DataFrame) -> dict[str, Any]:
    """Its columns: numbers by their bits, as NaN equals itself there."""
    numbers = frame.select_dtypes("number")
    return {name: frame[name].to_numpy().tobytes() if name in numbers else list(frame[name]) for name in frame}


def moved(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Which parts of what was learnt differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def pairs() -> list[Any]:
    """Every router with every policy; at once only each router with one of two in turn, and a kNN, which suits all."""
    quick = {(name, list(POLICIES)[i % 2]) for i, name in enumerate(ROUTERS)}
    quick |= {("knn", policy) for policy in POLICIES} | {("best_route", "best_route")}
    every = [(router, policy) for router in ROUTERS for policy in POLICIES]
    return [pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow) for pair in every]


def test_every_policy_is_here():
    assert set(POLICIES) == set(options("policy"))


@pytest.mark.parametrize(("router", "policy"), pairs())
def test_nothing_on_test_prompts_moves_what_a_router_and_its_policy_learn(made, frame, router, policy):
    arguments = (f"router={router}", *LESS.get(router, ()), f"policy={policy}", *POLICIES[policy])
    before, after = made(frame, *arguments), made(replaced(frame, "test"), *arguments)
    assert moved(before, after) == []
    if "refused" in before:  # before anything was learnt
        assert before["refused"].startswith(f"policy = {policy}: ")


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("seed", [5, 6])
def test_nothing_on_test_prompts_moves_other_choices(made, frame, what, seed):
    before, after = made(frame, *OTHERS[what]), made(replaced(frame, "test", seed), *OTHERS[what])
    assert "refused" not in before
    assert moved(before, after) == []


def priced(frame: pd.DataFrame, unpriced: pd.Series) -> pd.DataFrame:
    """With a cost in USD of every answer, but for some rows."""
    return frame.assign(cost_usd=np.where(unpriced, np.nan, 1e-6 * (1 + np.arange(len(frame)) % 97)))


def test_what_is_known_on_test_prompts_does_not_choose_what_is_counted(made, frame):
    """A member without a price on train has none; one without a price on test is priced as on train."""
    tested, mine = frame["split"] == "test", frame["model"] == frame["model"].iloc[0]
    for unpriced, kind in ((mine & ~tested, "tokens"), (tested, "usd")):
        arguments = ("policy.lambda=0.002",)
        before, after = (made(priced(frame, gone), *arguments) for gone in (unpriced, unpriced & ~tested))
        assert moved(before, after) == []
        assert before["card"]["cost_kind"] == kind
    refused = made(priced(frame, mine & ~tested), "cost=usd")["refused"]
    assert refused.startswith("cost.kind = usd: cannot be had: no cost_usd and no price on train prompts for ")


def test_there_is_a_cascade_that_could_have_moved(made, frame):
    found = made(frame, "router=ridge", "policy=budget", "cost.predict=true", "category=predicted")
    assert found["chosen"][0]["cascade"] is not None
    assert found["objective"]["value"] is not None


@pytest.mark.parametrize("part", ["train", "validation"])
def test_the_same_on_other_prompts_moves_it(made, frame, part):
    """Else the tests above would see nothing."""
    arguments = ("router=ridge", "policy=budget", "cost.predict=true", "category=predicted")
    found = moved(made(frame, *arguments), made(replaced(frame, part), *arguments))
    assert found == ["checkpoint", "card", "objective", "chosen", "validation", "routes"]
