"""What a table or a router cannot tell is refused, or said: means of responses, scores that have no price."""

from pathlib import Path

import numpy as np
import pytest

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


def test_where_lambda_has_a_price_or_is_not_asked_nothing_is_said(erp, train):
    for arguments in (("router=zooter",), ("router=zooter", "policy.lambda=inf"), ("policy.lambda=0.5",)):
        answer = train(long_frame(), *arguments)
        assert answer.code == 0, answer.err
        assert "ordinal: lambda" not in answer.out + (Path(answer.last) / "report.md").read_text()
