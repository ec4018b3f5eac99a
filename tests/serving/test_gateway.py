"""From a request to a decision: pins, budgets, exploring, and never worse than no router."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from erp.serving.asked import asked
from erp.serving.predict import MOST
from erp.serving.refusal import Refusal
from erp.serving.wishes import Wishes

from .conftest import Purse

PROMPT = "prove the triangle theorem"
TALK = [{"role": "user", "content": PROMPT}]
GONE_ON = [*TALK, {"role": "assistant", "content": "done"}, {"role": "user", "content": "now debug the parser loop"}]


def what(turns=TALK, model="erp/auto", **more):
    return asked({"model": model, "messages": turns, **more}, "chat", "last_user")


def decide(gateway, turns=TALK, wish=None, client="", **more):
    return asyncio.run(gateway.decide(what(turns, **more), wish or Wishes(), client))


def test_it_is_decided_as_the_router_says(gateway, trained):
    found = decide(gateway())
    assert found.decision.member == trained.route([PROMPT])["member"][0]
    assert (found.decision.path, found.decision.propensity) == ("routed", 1.0)
    assert found.predicted.rewards == pytest.approx(trained.scores([PROMPT]).iloc[0].to_dict())
    assert found.seconds < 1


def test_a_conversation_that_goes_on_stays_and_a_new_one_is_routed(gateway):
    purse = Purse()
    served = gateway(purse=purse)
    first = decide(served, client="someone")
    other = next(name for name in first.decision.order if name != first.decision.member)
    purse.pins[first.pin] = other
    went_on = decide(served, GONE_ON, client="someone")
    assert (went_on.decision.member, went_on.decision.path) == (other, "pinned")
    assert decide(served, client="someone").decision.path == "routed"  # the same beginning, and nothing said yet
    assert decide(served, GONE_ON, client="another").decision.path == "routed"
    named = decide(served, wish=Wishes(session="mine"))
    purse.pins[named.pin] = other
    assert decide(served, [{"role": "user", "content": "x"}], Wishes(session="mine")).decision.path == "pinned"


def test_a_named_member_is_asked_and_nothing_is_predicted(gateway, trained):
    found = decide(gateway(), model=trained.members[1])
    assert (found.decision.member, found.decision.path, found.decision.order, found.predicted) == (
        trained.members[1], "named", (trained.members[1],), None,
    )  # fmt: skip
    with pytest.raises(Refusal, match="model") as refused:
        decide(gateway(), model="nobody")
    assert refused.value.status == 404
    with pytest.raises(Refusal, match="x-erp-members"):
        decide(gateway(), model=trained.members[1], wish=Wishes(members=trained.members[:1]))


def test_a_spent_budget_takes_the_cheapest_or_nobody(gateway, trained):
    purse = Purse()
    purse.is_capped = True
    cheapest = trained.route([PROMPT], float("inf"))["member"][0]
    found = decide(gateway(purse=purse))
    assert (found.decision.member, found.decision.path) == (cheapest, "budget")
    # also where nothing is predicted: by the means on train
    silent = decide(gateway(purse=purse), [{"role": "user", "content": []}])
    means = trained.bundle.train_mean_cost.numpy()
    assert silent.decision.member == trained.members[int(np.argmin(means))]
    for served, model in ((gateway(purse=purse, budget={"at_cap": "refuse"}), "erp/auto"),
                          (gateway(purse=purse), trained.members[0])):  # fmt: skip
        with pytest.raises(Refusal, match="budget") as refused:
            decide(served, model=model)
        assert refused.value.status == 429
        assert 1 <= int(refused.value.headers["retry-after"]) <= 3600


def test_a_mean_budget_moves_lambda(gateway, trained):
    served = gateway(purse=Purse(lambda_=1e9), budget={"mean_usd": 0.01})
    assert decide(served).decision.member == trained.route([PROMPT], float("inf"))["member"][0]


def test_exploring_draws_a_member(gateway, trained):
    draws = iter([0.0, 0.0, 0.0, 0.99])
    served = gateway(draw=lambda: next(draws), explore=0.3)
    first, last = decide(served), decide(served)
    assert [first.decision.member, last.decision.member] == [trained.members[0], trained.members[-1]]
    assert first.decision.path == "explored"
    best = trained.route([PROMPT])["member"][0]
    for found in (first, last):
        expected = 0.1 + (0.7 if found.decision.member == best else 0.0)
        assert found.decision.propensity == pytest.approx(expected)


def best_constant(trained):
    return trained.members[int(np.argmax(trained.bundle.train_mean_reward.numpy()))]


def test_a_failed_encoder_a_slow_one_and_a_nan_end_at_the_best_constant(gateway, trained, monkeypatch):
    served = gateway(decision_ms=50)

    def breaks(*_):
        raise RuntimeError("no memory")

    def slow(*_):
        time.sleep(0.2)
        return np.zeros((1, 64), np.float32)

    def wild(prompts):
        return np.full((len(prompts), 64), np.nan, np.float32)

    for embed, path in ((breaks, "fallback"), (wild, "fallback"), (slow, "timeout")):
        monkeypatch.setattr(trained.backbone, "embed", embed)
        began = time.perf_counter()
        found = decide(served)
        assert (found.decision.member, found.decision.path) == (best_constant(trained), path)
        assert time.perf_counter() - began < 1
    assert decide(served, [{"role": "user", "content": []}]).decision.path == "fallback"
    assert served.served.predictor.failed >= 2


def test_requests_that_wait_together_are_one_batch_and_a_bad_one_harms_nobody(gateway, trained, monkeypatch):
    served = gateway(decision_ms=5000)
    embed, sizes = trained.backbone.embed, []

    def counted(prompts):
        sizes.append(len(prompts))
        if len(sizes) == 1:
            time.sleep(0.1)
        if "poison" in prompts:
            raise ValueError("poison")
        return embed(prompts)

    monkeypatch.setattr(trained.backbone, "embed", counted)
    prompts = [f"prompt number {i}" for i in range(100)] + ["poison"]

    async def all_at_once():
        bodies = (what([{"role": "user", "content": text}]) for text in prompts)
        return await asyncio.gather(*(served.decide(body, Wishes()) for body in bodies))

    found = asyncio.run(all_at_once())
    assert max(sizes) == MOST
    assert [one.decision.path for one in found] == ["routed"] * 100 + ["fallback"]
    judge = trained.scores(prompts[:100])
    for one, (_, expected) in zip(found, judge.iterrows(), strict=False):
        assert one.predicted.rewards == pytest.approx(expected.to_dict())
