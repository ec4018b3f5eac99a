"""A router that reads a given category: the request says it, and no member hears of it."""

from __future__ import annotations

import json

import pytest

from erp import import_table
from erp.serving.logged import drawn_from
from erp.table.read import read_table
from erp.trained.router import load
from tests.serving.servers import Member, completion, reply
from tests.training.tables import finished_run, routing_data

PROMPT = "prove the triangle theorem"
CHAT = {"model": "erp/auto", "messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """In place of the others' run: one whose router reads nothing but the category."""
    folder = tmp_path_factory.mktemp("by category")
    router = {"name": "category_mean", "_target_": "erp.routers.category_mean.CategoryMean"}
    finished_run(routing_data(), router, folder)
    return folder


def test_a_category_that_is_given_decides(gateway, ask, run_folder):
    judge, served = load(run_folder), gateway()
    rewards = []
    for category in (*judge.card.categories, "unheard of", None):
        expected = judge.scores([PROMPT], category=[category]).iloc[0].to_dict()
        for header, body in (({"x-erp-category": category}, {}), ({}, {"x-erp-category": category})):
            header = {name: value for name, value in header.items() if value is not None}
            found = ask(served, "POST", "/route", {"prompt": PROMPT, **body}, header).json()
            told = {name: one["predicted_reward"] for name, one in found["members"].items()}
            assert told == pytest.approx(expected)
        rewards.append(tuple(expected.values()))
    assert len(set(rewards)) == len(judge.card.categories) + 1
    batch = ask(served, "POST", "/route", {"prompts": [PROMPT] * 3, "x-erp-category": "math"}).json()["data"]
    assert len(batch) == 3


@pytest.mark.parametrize("category", [[], {"a": 1}, True, "x" * 513, 1.5])
def test_one_that_is_no_text_is_refused(gateway, ask, category):
    answer = ask(gateway(), "POST", "/route", {"prompt": PROMPT, "x-erp-category": category})
    assert (answer.status_code, "x-erp-category" in answer.json()["error"]["message"]) == (400, True)


def test_it_is_not_forwarded_and_the_log_keeps_it(gateway, ask, tmp_path):
    served = gateway(log={"folder": str(tmp_path / "log"), "prompts": True}, explore=0.5)
    with Member(reply(completion())) as member:
        nodes = [node.model_copy(update={"base_url": member.url}) for node in served.config.members]
        served.config = served.config.model_copy(update={"members": nodes})
        for header, body in (({"x-erp-category": "m%C3%A4th"}, {}), ({}, {"x-erp-category": 7}), ({}, {})):
            found = ask(served, "POST", "/v1/chat/completions", {**CHAT, **body}, header)
            said = {"id": found.headers["x-erp-id"], "reward": 1}
            assert ask(served, "POST", "/feedback", said).status_code == 200
        for asked in member.asked:
            assert set(asked.body) == {"model", "messages"}
            assert "x-erp-category" not in asked.headers
    parts = sorted((tmp_path / "log").iterdir())
    kept = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [line["category"] for line in kept if line["kind"] == "decision"] == ["mäth", "7", None]
    drawn = drawn_from(str(tmp_path / "log"), list(served.served.predictor.members))
    assert drawn.requests["category"].tolist() == ["mäth", "7", None]
    made = import_table("gateway", tmp_path / "log", out=str(tmp_path / "table"), progress=False)
    assert read_table(str(made.folder)).prompts["category"].tolist() == ["mäth"]
