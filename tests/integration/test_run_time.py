"""Policies that look at rewards, from the command line to a session in Python."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp as library
from erp.decisions.sequential.simulate import simulate
from erp.errors import ErpError
from erp.serving.predict import Predictor
from erp.table.samples import Samples
from tests.integration.tables import results

COST = 0.0001


@pytest.fixture(scope="module")
def asked(tmp_path_factory, scores):
    """Runs by policy, made once."""
    home, made = tmp_path_factory.mktemp("run_time"), {}

    def run(policy, *more):
        if (policy, more) not in made:
            made[policy, more] = library.train(
                [
                    "data=table", f"data.path={scores}", "backbone=hashing", "backbone.dimensions=256", "tracking=off",
                    "bootstrap.draws=200", "figures=false", "trainer.progress=false", f"cache_dir={home / 'cache'}",
                    f"out={home / 'runs'}", f"policy={policy}", *more,
                ]
            )  # fmt: skip
        return made[policy, more]

    return run


@pytest.mark.parametrize("policy", ["reservation", "cascade_routing", "cascade"])
def test_the_report_holds_the_policy_against_the_others_at_equal_cost(asked, policy):
    found = asked(policy).results
    section, routing = found["rewards_at_run_time"], found["routing"]
    assert section["reward"] == found["policy"]["reward"]
    assert section["cost"] == found["policy"]["cost"]
    # Asking everyone and keeping the best is where the curve begins; a cascade's keeps the last answer.
    ends = [(section["curve"]["cost"][at], section["curve"]["reward"][at]) for at in (0, -1)]
    dearest = max(ends)
    if policy != "cascade":
        assert dearest == pytest.approx((routing["sample_all"]["cost"], routing["sample_all"]["reward"]))
    assert min(section["curve"]["calls"]) == pytest.approx(1)
    own = section["beside"][0]
    assert own["cost"] == section["cost"]
    assert own["less_constant"] == found["equal_cost"]["policy"]["difference"]
    assert len(section["beside"]) == 6
    assert all(
        b["less_router"]["low"] <= b["less_router"]["mean"] <= b["less_router"]["high"] for b in section["beside"]
    )
    assert "With rewards at run time" in (asked(policy).folder / "report.md").read_text()


def test_todays_cascade_is_a_point_of_it(asked):
    found = asked("cascade").results
    row, chosen = found["routing"]["cascade"], found["chosen_on_validation"]
    assert found["policy"]["reward"] == pytest.approx(row["reward"], abs=1e-12)
    assert found["policy"]["cost"] == pytest.approx(row["cost"])
    assert found["policy"]["label"] == f"cascade, threshold = {row['threshold']:g}"
    assert len(chosen["cascades"]) > 1
    assert chosen["cascade"]["threshold"] == row["threshold"]


def test_a_run_without_such_a_policy_is_as_before(asked):
    found = asked("lambda").results
    assert found["rewards_at_run_time"] is None
    assert found["chosen_on_validation"]["cascades"] is None
    routed = asked("reservation").results
    assert {**routed["routing"]} == {**found["routing"]}
    assert routed["curves"] == found["curves"]


def test_scoring_is_paid_for_every_answer_that_is_looked_at(asked):
    free, paid = asked("reservation").results, asked("reservation", f"cost.scoring={COST}").results
    assert paid["routing"]["sample_all"]["cost"] == pytest.approx(free["routing"]["sample_all"]["cost"] + 3 * COST)
    assert paid["routing"]["router"]["cost"] == free["routing"]["router"]["cost"]
    one = paid["rewards_at_run_time"]
    assert one["curve"]["cost"][0] == pytest.approx(free["rewards_at_run_time"]["curve"]["cost"][0] + 3 * COST)
    assert one["scoring"] == COST


@pytest.mark.parametrize("policy", ["reservation", "cascade_routing", "cascade"])
def test_a_session_decides_as_the_simulation_does(asked, scores, policy):
    router, frame = library.load(asked(policy).folder), pd.read_parquet(scores)
    wide = frame[frame["sample"] == frame["sample"].min()].pivot_table(index="prompt", columns="model", values="reward")
    wide = wide.head(12)
    texts, reward = wide.index.tolist(), wide[list(router.members)].to_numpy()
    forecast = router.forecast(texts)
    samples = Samples(reward[:, :, None], np.ones_like(reward, dtype=int), np.arange(len(reward)))
    played = simulate(router.policy.start(forecast), samples, np.ones(3))
    for i, text in enumerate(texts):
        session, asked_for = router.session(text), []
        while session.next is not None:
            asked_for.append(session.next)
            session.observe(reward[i, router.members.index(session.next)])
        assert session.answer.reward == played.reward[i]
        assert asked_for[session.answer.at] == session.answer.member
        assert len(asked_for) == played.calls[i]
    first = router.route(texts)["member"].tolist()
    assert first == [router.session(text).next for text in texts]


def test_a_session_says_what_is_wrong(asked):
    session = library.load(asked("reservation").folder).session("How many primes are there?")
    with pytest.raises(ErpError, match="nobody has answered yet"):
        _ = session.answer
    with pytest.raises(ErpError, match="is no reward; a finite number is allowed"):
        session.observe(float("nan"))
    while session.next is not None:
        session.observe(0.0)
    with pytest.raises(ErpError, match="nobody was to be asked any more"):
        session.observe(1.0)
    with pytest.raises(ErpError, match="policy = lambda: looks at no reward"):
        library.load(asked("lambda").folder).session("How many primes are there?")


def test_evaluating_again_gives_the_same(asked, erp):
    run = asked("cascade_routing")
    again = erp("evaluate", f"run={run.folder}", "out=again")
    assert again.code == 0, again.err
    found = results(again.last)
    assert found["rewards_at_run_time"] == run.results["rewards_at_run_time"]
    assert found["chosen_on_validation"] == run.results["chosen_on_validation"]


@pytest.mark.parametrize("router", ["mean_and_spread", "quantile"])
def test_a_router_that_predicts_distributions_is_asked_for_them(asked, router):
    run = asked("reservation", f"router={router}", "trainer.max_epochs=3", "policy.repeats=2")
    calls = run.results["rewards_at_run_time"]["curve"]["calls"][0]
    # Free answers: everyone twice; of predicted quantiles none passes the largest, and no more are asked behind it.
    assert calls == pytest.approx(6) if router == "mean_and_spread" else 3 < calls < 6
    opened = library.load(run.folder)
    assert opened.policy.state()["law"] == ("predicted" if router == "quantile" else "normal")
    assert opened.session("How many primes are there?").next in opened.members
    texts, gateway = [f"How many {n} are there?" for n in range(30)], Predictor(opened)
    found = [asyncio.run(gateway.ask(text, None, 60)) for text in texts]
    told = [gateway.weighed(one, text, gateway.policy) for one, text in zip(found, texts, strict=True)]
    gateway.close()
    assert [one.chosen for one in told] == opened.route(texts)["member"].tolist()


def test_what_cannot_be_played_is_refused_before_anything_is_learnt(erp, tmp_path, scores):
    frame = (
        pd.read_parquet(scores)
        .groupby(["prompt_id", "prompt", "model"], as_index=False)
        .agg(reward=("reward", "mean"), cost_usd=("cost_usd", "mean"))
    )
    frame.assign(n_samples=2).to_parquet(tmp_path / "means.parquet")
    answer = erp("train", "data=table", f"data.path={tmp_path / 'means.parquet'}", "tracking=off", "policy=reservation")
    assert answer.code == 2
    assert answer.faults == [
        "erp train: policy = reservation: looks at the rewards of single answers, and the table holds means of "
        "several, or target.kind is not mean; separate responses with target.kind=mean are allowed; choose "
        "policy=lambda"
    ]
    for given, said in (
        (["policy=reservation", "policy.repeats=0"], "policy.repeats = 0"),
        (["policy=cascade", "policy.threshold=.nan"], "policy.threshold"),
        (["policy=cascade", "policy.chain=[a,a]"], "policy.chain"),
        (["policy=cascade_routing", "policy.lambda=-1"], "lambda = -1"),
        (["policy=reservation", "router=zooter"], "policy = reservation: compares predicted rewards"),
    ):
        answer = erp("train", "data=table", f"data.path={scores}", "tracking=off", *given)
        assert answer.code == 2
        assert said in answer.err


def test_what_was_learnt_is_plain(asked):
    state = json.loads(json.dumps(library.load(Path(asked("reservation").folder)).policy.state()))
    assert set(state) == {"lambda", "law", "low", "high", "scoring", "shared", "single"}
