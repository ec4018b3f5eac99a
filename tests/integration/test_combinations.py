"""Switches with each other: every pair of their values is trained, routed with, evaluated and extended, or refused."""

import json
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from erp.build import build
from erp.compose import options
from erp.routers.base import Router
from tests.backbones.tiny_encoders import tiny_encoder
from tests.integration.tables import long_frame, results
from tests.routers.problems import router_options

NEW = "synthetic-8b"
RUN_TIME = ("best_route", "cascade", "cascade_routing", "reservation")
ROUTERS = router_options()
# Of routers that are refused, and asked for things, for the same reasons one stands for the others.
ALIKE = {
    "avengers", "avengers_pro", "bradley_terry", "gradient_boosting", "graph", "hybrid_llm", "irt", "label_classifier",
    "label_knn", "label_svm", "p2l", "prox", "random_forest", "routerdc", "svr",
}  # fmt: skip
BUILT = {name: build(node, Router, key="router") for name, node in ROUTERS.items() if name not in ALIKE}
Case = dict[str, Any]
SWITCHES: dict[str, tuple[Any, ...]] = {
    "router": tuple(BUILT),
    "policy": tuple(sorted(options("policy"))),
    "category": ("given", "predicted"),
    "category_block": (0.0, 0.5),
    "cost.predict": ("false", "true"),
    "cost": ("auto", "none"),
    "target.kind": ("mean", "quantile", "best_of_n"),
    "finetune": (False, True),
}
MORE = {
    "policy=guarantee": ("policy.alpha=0.4",),
    "policy=tolerance": ("policy.tau=0.1",),
    "target.kind=best_of_n": ("target.n=2",),
    "router=best_route": ("router.n=2",),
    "router=auto": (  # its other candidates are routers of their own here
        "router.folds=3", *(f"~router.candidates.{name}" for name in ROUTERS["auto"]["candidates"]
                            if name not in ("ridge", "knn", "mlp")),
    ),
}  # fmt: skip
COMMON = (
    "data=table", "tracking=off", "bootstrap.draws=100", "figures=false", "trainer.max_epochs=2",
    "trainer.batch_size=32", "trainer.accelerator=cpu",
)  # fmt: skip


def refusals(case: Case) -> list[str]:
    """What `erp train` has to say of a combination that makes no sense, a line each."""
    router, lines = BUILT[case["router"]], []
    if case["finetune"] and router.closed_form:
        lines.append(f"router = {case['router']}: is solved in closed form")
    if (
        case["policy"] in ("tolerance", "guarantee", "guarded", "cascade_routing", "reservation")
        and router.scale == "ordinal"
    ):
        lines.append(f"policy = {case['policy']}: compares predicted rewards in reward units")
    if case["policy"] == "guarded" and case["router"] != "knn":
        lines.append("policy = guarded: reads the rewards of each prompt's neighbours")
    if case["policy"] == "best_route" and case["router"] != "best_route":
        lines.append("policy = best_route: reads how likely several answers are enough")
    if case["policy"] not in ("lambda", "guarded") and case["cost"] == "none":  # these weigh costs above lambda = 0
        lines.append(f"policy = {case['policy']}: no costs are known to weigh")
    if case["policy"] in RUN_TIME and case["target.kind"] != "mean":
        lines.append(f"policy = {case['policy']}: looks at the rewards of single answers")
    return lines


def not_extended(case: Case) -> bool:
    """Whether `erp extend` refuses the run: it says what to train instead."""
    learnt = case["policy"] in ("budget", "guarantee", "guarded", *RUN_TIME)
    return BUILT[case["router"]].scale == "ordinal" or learnt or case["category_block"] > 0


def pairs_of(case: Case) -> list[tuple[Any, ...]]:
    return list(combinations(case.items(), 2))


def covering(switches: dict[str, tuple[Any, ...]]) -> tuple[list[Case], list[Case]]:
    """Few combinations in which every two values meet: those that are allowed, and, of those that never are, refused.

    Greedy: always the combination with most pairs that have not met. A pair meets with as few faults as it can.
    """
    every = [dict(zip(switches, values, strict=True)) for values in product(*switches.values())]
    number = {pair: i for i, pair in enumerate(dict.fromkeys(pair for case in every for pair in pairs_of(case)))}
    holds = np.zeros((len(every), len(number)), dtype=bool)
    for row, case in enumerate(every):
        holds[row, [number[pair] for pair in pairs_of(case)]] = True
    faults = np.array([len(refusals(case)) for case in every])
    chosen: list[int] = []
    for number_of_faults in range(faults.max() + 1):
        rows = np.flatnonzero(faults == number_of_faults)
        left = holds[rows].any(axis=0) & ~holds[chosen].any(axis=0)
        while left.any():
            chosen.append(rows[holds[rows][:, left].sum(axis=1).argmax()])
            left &= ~holds[chosen[-1]]
    return [every[row] for row in chosen if not faults[row]], [every[row] for row in chosen if faults[row]]


def name(case: Case) -> str:
    return "-".join(map(str, case.values()))


QUICK = covering(SWITCHES | {"router": ("ridge", "knn", "mlp")})[0][:6]
ALLOWED, REFUSED = covering(SWITCHES)
CASES = [pytest.param(case, id=name(case)) for case in QUICK] + [
    pytest.param(case, id=name(case), marks=pytest.mark.slow) for case in ALLOWED if case not in QUICK
]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Tables of three members, of four, and of three on other prompts; an encoder to fine-tune."""
    folder = tmp_path_factory.mktemp("combinations")
    frame = long_frame(prompts=120, members=4, samples=3, missing=0.03)
    frame.to_parquet(folder / "four.parquet")
    three = frame[frame["model"] != NEW]
    three.to_parquet(folder / "three.parquet")
    other = three[three["prompt_id"].isin(three["prompt_id"].unique()[:40])]
    other = other.assign(prompt=other["prompt"] + " Say it in other words.", prompt_id=other["prompt_id"] + "b")
    other.to_parquet(folder / "other.parquet")
    tiny_encoder(folder / "bert", "bert", "mean")
    return folder


def arguments(case: Case, home: Path) -> list[str]:
    backbone = ["backbone=hashing", "backbone.dimensions=32"]
    if case["finetune"]:
        backbone = [
            "backbone=minilm", "backbone.model=tiny/bert", "backbone.sha256=null", "backbone.package=null",
            "backbone.finetune=true",
        ]  # fmt: skip
    given = [f"{key}={value}" for key, value in case.items() if key != "finetune"]
    more = [extra for key in given for extra in MORE.get(key, ())]
    return [*COMMON, f"data.path={home / 'three.parquet'}", f"weights_dir={home}", *backbone, *given, *more]


@pytest.mark.parametrize("case", CASES)
def test_what_trains_routes_is_evaluated_and_extended(erp, home, case):
    trained = erp("train", *arguments(case, home))
    assert trained.code == 0, trained.err
    folder, there = Path(trained.last), f"weights_dir={home}"
    routed_as_reported(erp, home, folder)
    again = erp("evaluate", f"run={folder}", there)
    assert again.code == 0, again.err
    found, before = results(again.last), results(folder)
    for section in ("prediction", "policy", "curves", "audc"):
        assert found[section] == before[section], section
    other = erp("evaluate", f"run={folder}", "data=table", f"data.path={home / 'other.parquet'}", there)
    assert other.code == 0, other.err
    joined = erp("extend", f"run={folder}", "data=table", f"data.path={home / 'four.parquet'}", there)
    if not_extended(case):
        assert joined.code == 2
        assert all(line.startswith("erp extend: run") for line in joined.faults)
    else:
        assert joined.code == 0, joined.err
        routed_as_reported(erp, home, Path(joined.last))


def routed_as_reported(erp, home: Path, folder: Path) -> None:
    """`erp route` chooses for every test prompt whom the report's predictions say, and predicts the same."""
    predictions = pd.read_parquet(folder / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    prompts = pd.read_parquet(home / "four.parquet").drop_duplicates("prompt_id").set_index("prompt_id")
    ids = list(test["prompt_id"].unique())
    prompts.loc[ids, ["prompt", "category"]].to_json("prompts.jsonl", orient="records", lines=True)
    answer = erp("route", f"run={folder}", "input=prompts.jsonl", "output=json", f"weights_dir={home}")
    assert answer.code == 0, answer.err
    chosen = test[test["chosen"]].groupby("prompt_id")["model"].agg(set)
    told = test.set_index(["prompt_id", "model"])
    for prompt_id, line in zip(ids, answer.out.splitlines(), strict=True):
        found = json.loads(line)
        assert found["member"] in chosen[prompt_id]
        for member, said in found["members"].items():
            assert said["predicted_cost"] == pytest.approx(told.loc[(prompt_id, member), "predicted_cost"], rel=1e-4)


@pytest.mark.parametrize("case", [pytest.param(case, id=name(case)) for case in REFUSED[::8]])
def test_what_makes_no_sense_is_refused_in_a_line_before_training(erp, home, case):
    refused_in_a_line(erp, home, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(case, id=name(case)) for case in REFUSED])
def test_so_is_every_other_such_pair(erp, home, case):
    refused_in_a_line(erp, home, case)


def refused_in_a_line(erp, home: Path, case: Case) -> None:
    answer = erp("train", *arguments(case, home))
    assert answer.code == 2
    expected = tuple(f"erp train: {line}" for line in refusals(case))
    assert answer.faults
    assert all(line.startswith(expected) for line in answer.faults)
    assert not list(Path("runs").glob("*/*.ckpt"))


def test_every_two_values_meet():
    met = {pair for case in [*ALLOWED, *REFUSED] for pair in pairs_of(case)}
    for (one, values), (other, others) in combinations(SWITCHES.items(), 2):
        for pair in product(values, others):
            assert ((one, pair[0]), (other, pair[1])) in met
    assert all(not refusals(case) for case in ALLOWED)
