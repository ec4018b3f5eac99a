"""The decision alone over HTTP: as `erp.load(run).route` decides, to those who may ask, with every fault as JSON."""

from __future__ import annotations

import hashlib
import math

import pytest

from erp.units import UNITS

PROMPT = "prove the triangle theorem"
PROMPTS = [PROMPT, "debug the parser loop", "naïve café \U0001f600"]


def refused(answer, status, words=""):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["code"]


@pytest.mark.parametrize("lambda_", [None, 0.0, 50.0, math.inf])
def test_a_decision_is_the_trained_router_s(gateway, ask, trained, lambda_):
    answer = ask(gateway(lambda_), "POST", "/route", {"prompts": PROMPTS}).json()["data"]
    judge, scores = trained.route(PROMPTS, lambda_), trained.scores(PROMPTS)
    assert [one["member"] for one in answer] == judge["member"].tolist()
    for one, (_, expected), (_, cost) in zip(answer, scores.iterrows(), judge["predicted_cost"].items(), strict=True):
        assert {name: told["predicted_reward"] for name, told in one["members"].items()} == pytest.approx(
            expected.to_dict()
        )
        assert one["members"][one["member"]]["predicted_cost"] == pytest.approx(cost)
        assert (one["path"], one["order"][0], one["lambda"]) == (
            "routed",
            one["member"],
            "inf" if lambda_ == math.inf else pytest.approx(lambda_ or 0.0),
        )
        if lambda_ != math.inf:
            price = (lambda_ or 0.0) / UNITS[trained.card.cost_kind].size
            for told in one["members"].values():
                worth = told["predicted_reward"] - price * told["predicted_cost"]
                assert told["utility"] == pytest.approx(worth)


def test_a_prompt_and_a_conversation_of_it_are_decided_alike(gateway, ask):
    served = gateway()
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    alone, talk = (ask(served, "POST", "/route", body).json() for body in ({"prompt": PROMPT}, {"messages": turns}))
    assert alone.pop("id") != talk.pop("id")
    assert alone == talk


def test_a_request_may_wish_for_what_the_operator_allows(gateway, ask, trained):
    first, _, third = trained.members
    free = gateway(policies=["lambda"])
    dear = ask(free, "POST", "/route", {"prompt": PROMPT}, {"x-erp-lambda": "inf"}).json()
    assert dear["member"] == trained.route([PROMPT], math.inf)["member"][0]
    # the body's own wish comes before the header's
    both = ask(free, "POST", "/route", {"prompt": PROMPT, "x-erp-lambda": 0}, {"x-erp-lambda": "inf"}).json()
    assert both["member"] == trained.route([PROMPT], 0.0)["member"][0]
    some = ask(free, "POST", "/route", {"prompt": PROMPT}, {"x-erp-members": f"{third}, {first}"}).json()
    assert set(some["order"]) == {first, third}
    run = ask(gateway(), "POST", "/route", {"prompt": PROMPT}, {"x-erp-policy": "run"})
    assert run.status_code == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x-erp-lambda": "-1"}, "x-erp-lambda"),
        ({"x-erp-lambda": "nan"}, "x-erp-lambda"),
        ({"x-erp-lambda": "much"}, "x-erp-lambda"),
        ({"x-erp-policy": "lambda"}, "x-erp-lambda"),
        ({"x-erp-policy": "budget"}, "x-erp-policy"),
        ({"x-erp-members": "nobody"}, "no member"),
        ({"x-erp-members": ""}, "no member"),
        ({"x-erp-session": ""}, "x-erp-session"),
        ({"x-erp-session": "x" * 513}, "x-erp-session"),
    ],
)
def test_a_wish_that_cannot_be_had_is_refused(gateway, ask, headers, words):
    refused(ask(gateway(policies=["lambda"]), "POST", "/route", {"prompt": PROMPT}, headers), 400, words)


def test_an_operator_s_policy_stays(gateway, ask):
    answer = ask(gateway(), "POST", "/route", {"prompt": PROMPT}, {"x-erp-lambda": "0"})
    refused(answer, 400, "not allowed")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}", {}, {"prompt": ""},
     {"prompt": 3}, {"prompt": None}, {"prompts": []}, {"prompts": [3]}, {"prompts": ["x"] * 1001},
     {"messages": []}, {"messages": "hello"}, {"messages": [3]}, {"prompt": "x", "model": 3},
     b'{"messages": [{"role": "user", "content": ' + b"[" * 500 + b"]" * 500 + b"}]}"],
)  # fmt: skip
def test_a_body_that_says_nothing_is_refused_in_openai_s_form(gateway, ask, content):
    served = gateway()
    answer = ask(served, "POST", "/route", content)
    if answer.status_code == 200:  # parts that are no text: nothing is asked, and the best constant answers
        assert answer.json()["path"] == "fallback"
    else:
        refused(answer, 400)
    assert ask(served, "POST", "/route", {"prompt": PROMPT}).json()["path"] == "routed"


def test_bodies_are_bounded_whether_or_not_they_say_how_long_they_are(gateway, ask):
    served = gateway(body_mb=0.001)
    refused(ask(served, "POST", "/route", {"prompt": "x" * 1001}), 413, "1,000")
    refused(ask(served, "POST", "/route", b"{}", {"content-length": "9" * 30}), 413)
    refused(ask(served, "POST", "/route", b"{}", {"content-length": "-1"}), 413)
    assert ask(served, "POST", "/route", {"prompt": "x" * 900}).status_code == 200


def test_tokens_open_all_but_the_health(gateway, ask):
    served = gateway(tokens=[hashlib.sha256(token).hexdigest() for token in (b"one", b"two")])
    for token in ("one", "two"):
        assert ask(served, "GET", "/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
    for header in ({}, {"authorization": "Bearer three"}, {"authorization": "one"}, {"authorization": "Basic one"},
                   {"authorization": "Bearer "}, {"authorization": "Bearer \xff"}):  # fmt: skip
        for method, path in (("GET", "/v1/models"), ("POST", "/route"), ("GET", "/nowhere")):
            encoded = {name: value.encode("latin-1") for name, value in header.items()}
            assert refused(ask(served, method, path, headers=encoded), 401) == "invalid_api_key"
    assert ask(served, "GET", "/healthz").json() == {"status": "ok"}


def test_paths_are_the_path_s_alone(gateway, ask, trained):
    served = gateway()
    assert [model["id"] for model in ask(served, "GET", "/v1/models").json()["data"]] == ["erp/auto", *trained.members]
    for path in ("/v1/models/", "//v1/models", "/V1/models", "/v1/../v1/models/x", "/docs", "/%2e%2e"):
        assert refused(ask(served, "GET", path), 404) == "not_found"
    refused(ask(served, "GET", "/nowhere", headers={"host": "x/v1/models?"}), 404)
    refused(ask(served, "GET", "/route"), 405, "POST")
    assert ask(served, "GET", "/healthz").headers["x-erp-schema"] == "1"


def test_who_cannot_is_passed_over_and_told(gateway, ask, trained):
    best = ask(gateway(), "POST", "/route", {"prompt": PROMPT}).json()["member"]
    tools = {"messages": [{"role": "user", "content": PROMPT}], "tools": [{"type": "function"}]}
    answer = ask(gateway(capable={best: {"tools": False}}), "POST", "/route", tools).json()
    assert (answer["path"], answer["members"][best]["lacks"]) == ("filtered", ["tools"])
    assert best not in answer["order"]
    none = gateway(capable={name: {"tools": False} for name in trained.members})
    assert refused(ask(none, "POST", "/route", tools), 400, f"{best} lacks tools") == "nobody_capable"


def test_what_goes_wrong_inside_is_an_answer_too(gateway, ask, monkeypatch):
    served = gateway()
    monkeypatch.setattr(type(served), "would", lambda *_: 1 / 0)
    assert refused(ask(served, "POST", "/route", {"prompt": PROMPT}), 500) == "internal_error"
