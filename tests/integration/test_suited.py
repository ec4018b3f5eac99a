"""What a table or a router cannot tell is refused, or said: means of responses, scores that have no price."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

import erp as library
from erp.backbones.cache import embed_prompts
from tests.integration.tables import long_frame, results


def means(frame, of=4):
    """Means of several responses: a row a cell, nothing of their spread."""
    cells = frame.groupby(["prompt_id", "prompt", "category", "model"], as_index=False)
    return cells[["reward", "completion_tokens", "cost_usd"]].mean().assign(n_samples=of)


def attempts(frame):
    """Means of four 0/1 attempts."""
    rng = np.random.default_rng(0)
    return means(frame).assign(reward=lambda f: rng.binomial(4, 0.3 + 0.4 * rng.random(len(f))) / 4)


@pytest.fixture
def train(erp, tmp_path):
    def run(frame, *arguments):
        frame.to_parquet(path := tmp_path / "table.parquet")
        common = ["backbone=hashing", "tracking=off", "bootstrap.draws=100", "figures=false", "trainer.max_epochs=1"]
        return erp("train", "data=table", f"data.path={path}", *common, *arguments)

    return run


@pytest.mark.parametrize(
    "router",
    [
        ["router=quantile"],
        ["router=stack", "+router.parts.quantile={_target_: erp.routers.quantile.Quantile}"],
    ],
)
def test_how_responses_differ_is_not_learnt_from_means(train, router):
    answer = train(means(long_frame()), *router)
    assert answer.code == 2
    (fault,) = answer.faults
    assert "learns how single responses differ, and the table holds means of several" in fault
    assert not list(Path("runs").glob("*/checkpoint.ckpt"))


def test_some_rows_that_are_means_are_enough(train):
    frame = long_frame(samples=2)
    frame["n_samples"] = np.where(frame["prompt_id"] == frame["prompt_id"].iloc[0], 3, 1)
    assert train(frame, "router=quantile").code == 2


def test_means_of_attempts_are_attempts_and_single_responses_are_themselves(train):
    for frame in (attempts(long_frame()), long_frame()):
        answer = train(frame, "router=quantile")
        assert answer.code == 0, answer.err
        assert not any("learnt how responses differ" in note for note in results(answer.last)["data"]["notes"])


def test_one_reward_a_cell_may_be_a_mean_and_that_is_said(train):
    answer = train(long_frame(samples=1), "router=quantile")
    assert answer.code == 0, answer.err
    assert any("every cell has one reward" in note for note in results(answer.last)["data"]["notes"])
    assert "every cell has one reward" in (Path(answer.last) / "report.md").read_text().lower()
    other = train(long_frame(samples=1), "router=ridge")
    assert not any("every cell has one reward" in note for note in results(other.last)["data"]["notes"])


@pytest.mark.parametrize("router", ["zooter", "ranking", "regret"])
def test_a_utility_of_ordinal_scores_is_said_to_be_at_no_price_per_reward(erp, train, router):
    answer = train(long_frame(), f"router={router}", "policy.lambda=0.5")
    assert answer.code == 0, answer.err
    note = "scores are ordinal: lambda weighs them, not rewards, against costs"
    assert note in answer.out
    assert note in (Path(answer.last) / "report.md").read_text()
    assert note in results(answer.last)["policy"]["notes"][0]
    Path("prompts.txt").write_text("a prompt\n")
    asked = erp("route", f"run={answer.last}", "input=prompts.txt")
    assert asked.code == 0
    assert note in asked.err
    assert erp("route", f"run={answer.last}", "input=prompts.txt", "lambda=0").err == ""


def test_a_router_between_two_members_takes_a_pool_of_two(train):
    answer = train(long_frame(), "router=hybrid_llm")
    assert answer.code == 2
    (fault,) = answer.faults
    assert "router = hybrid_llm: decides between two members, and the pool has 3: " in fault
    members = ",".join(sorted(long_frame()["model"].unique())[:2])
    assert members in fault.replace(", ", ",")
    assert train(long_frame(), "router=hybrid_llm", f"pool.members=[{members}]").code == 0


ANY_TABLE = {
    "one answer a cell": lambda frame: frame[frame["sample"] == frame["sample"].min()],
    "means": means,
    "attempts": attempts,
    "no categories and no costs": lambda frame: frame[["prompt", "model", "sample", "reward"]],
    "missing cells": lambda frame: frame.drop(frame[frame["model"] == frame["model"].iloc[0]].index[::3]),
}


@pytest.mark.parametrize("kind", ANY_TABLE)
def test_a_guard_on_neighbours_serves_any_table(train, kind):
    answer = train(ANY_TABLE[kind](long_frame()), "router=knn", "router.k=15", "policy=guarded", "policy.z=1")
    assert answer.code == 0, answer.err
    found = results(answer.last)["policy"]
    assert 0 < found["shares"][found["best_single_member"]] < 1


def test_with_one_answer_a_cell_it_goes_by_the_spread_between_the_neighbours(train):
    frame = ANY_TABLE["one answer a cell"](long_frame())
    answer = train(frame, "router=knn", "router.k=15", "policy=guarded", "policy.z=1")
    router, parts = library.load(answer.last), pd.read_parquet(Path(answer.last) / "predictions.parquet")
    wide = frame.pivot_table(index="prompt_id", columns="model", values="reward")[list(router.members)]
    texts = frame.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"]
    split = pd.read_parquet(Path(answer.last) / "split.parquet").set_index("prompt_id")["split"]
    learnt, held = (split.index[split == name] for name in ("train", "test"))
    train_, test = (embed_prompts(texts[ids].tolist(), router.backbone) for ids in (learnt, held))
    single, judged = int(wide.loc[learnt].mean().argmax()), 0
    chosen = parts[parts["chosen"]].set_index("prompt_id")["model"]
    for prompt_id, cosine in zip(held, test @ train_.T, strict=True):
        order = np.argsort(-cosine)
        if cosine[order[14]] - cosine[order[15]] < 1e-6:  # which of two equally near ones counts is not told here
            continue
        near, judged = wide.loc[learnt].to_numpy()[order[:15]], judged + 1
        ahead = ttest_1samp(near - near[:, [single]], 0.0).statistic > 1
        ahead[single] = True
        assert chosen[prompt_id] == router.members[np.where(ahead, near.mean(axis=0), -np.inf).argmax()]
    assert judged > 10


def test_best_route_needs_the_samples_that_it_takes_the_best_of(train):
    for frame, told in ((long_frame(samples=1), 1), (means(long_frame()), 1), (long_frame(samples=3), 3)):
        answer = train(frame, "router=best_route", "router.n=4")
        assert answer.code == 2
        (fault,) = answer.faults
        assert "router = best_route: learns from the best of 4 responses" in fault
        assert f"a cell of the table has {told};" in fault
    answer = train(long_frame(), "policy=best_route")
    assert answer.code == 2
    assert "policy = best_route: reads how likely several answers are enough, and router = ridge does not" in answer.err


def test_best_route_asks_the_cheapest_arm_in_a_session_too_and_is_played_beside_the_others(train):
    frame = long_frame(samples=3)
    answer = train(frame, "router=best_route", "router.n=2", "policy=best_route", "cost.scoring=0.00001")
    assert answer.code == 0, answer.err
    found, router = results(answer.last), library.load(answer.last)
    section, texts = found["rewards_at_run_time"], frame["prompt"].drop_duplicates().tolist()[:20]
    assert section["reward"] == found["policy"]["reward"]
    assert found["policy"]["label"] == f"best_route, threshold = {router.policy.threshold:g}"
    assert min(section["curve"]["calls"]) >= 1
    assert 1 < max(section["curve"]["calls"]) <= 2
    forecast, threshold = router.forecast(texts), router.policy.threshold
    price = (forecast.costs + 0.00001)[:, :, None] * [1, 2]
    for i, text in enumerate(texts):
        enough = np.argwhere(forecast.matches[i] >= threshold)
        _, member, times = min((price[i, m, j], m, j + 1) for m, j in enough)
        session, asked = router.session(text), []
        while session.next is not None:
            asked.append(session.next)
            session.observe(float(len(asked)))
        assert asked == [router.members[member]] * times
        assert session.answer.reward == times


def test_where_lambda_has_a_price_or_is_not_asked_nothing_is_said(erp, train):
    for arguments in (("router=zooter",), ("router=zooter", "policy.lambda=inf"), ("policy.lambda=0.5",)):
        answer = train(long_frame(), *arguments)
        assert answer.code == 0, answer.err
        assert "ordinal: lambda" not in answer.out + (Path(answer.last) / "report.md").read_text()
