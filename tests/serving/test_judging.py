"""Answers judged before one is sent: a session's order over real sockets, and never worse than no judge."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
import yaml

from erp.config.serve import Budget, ServeConfig
from erp.costs.prices import Price
from erp.errors import ErpError
from erp.serving.gateway import Served as Bundle
from erp.serving.logged import drawn_from
from erp.serving.opening import opened
from erp.serving.spend import Spend
from erp.serving.state import State
from erp.serving.wishes import Wishes
from erp.trained.router import load
from tests.docs.pages import ROOT, blocks
from tests.serving.conftest import CHAT, PROMPT
from tests.serving.servers import Member, Served, chunk, completion, event, parts, reply
from tests.serving.test_gateway import GONE_ON, decide
from tests.training.tables import RIDGE, finished_run, routing_data

NORMAL = {"law": "normal", "low": -3.0, "high": 3.0, "scoring": 0.0,
          "shared": (0.3 * np.eye(3) + 0.1).ravel().tolist(), "single": [0.4, 0.5, 0.6]}  # fmt: skip
CHAIN = {"chain": [2.0, 0.0, 1.0], "threshold": 0.5, "dials": []}
POLICIES = {
    "cascade": ("cascade.CascadePolicy", CHAIN),
    "pair": ("cascade.CascadePolicy", {**CHAIN, "chain": [2.0, 0.0]}),
    "reservation": ("reservation.ReservationPolicy", {**NORMAL, "lambda": 0.0}),
    "cascade_routing": ("cascade_routing.CascadeRoutingPolicy", {**NORMAL, "lambda": 1e-5}),
}

PATIENT = {"first_byte_s": 30.0, "between_bytes_s": 30.0}  # a busy machine passes nobody over


@pytest.fixture(scope="session")
def judged_runs(tmp_path_factory):
    """Run folders by policy, as far as loading needs them."""
    home, data = tmp_path_factory.mktemp("judged"), routing_data()
    for name, (target, state) in POLICIES.items():
        policy = {"name": "x", "_target_": f"erp.decisions.sequential.{target}"}
        finished_run(data, RIDGE, home / name, policy=policy, policy_state=state)
    return home


@pytest.fixture
def policy():
    """Of the run that is served; a test may choose another."""
    return "reservation"


@pytest.fixture
def trained(judged_runs, policy):
    return load(judged_runs / policy)


@pytest.fixture
def judged(setting):
    """``judged(rewards by member, judge={...}, **options)``: a gateway with a judge; members answer their names."""
    servers = []

    def of(rewards=None, *, judge=None, script=None, **options):
        async def scored(asked, writer):
            await reply({"reward": rewards[asked.body["response"]]})(asked, writer)

        server = Member(script or scored).__enter__()
        servers.append(server)
        here = setting(judge={"url": f"{server.url}/reward", **(judge or {})}, endpoint=PATIENT, **options)
        here.judge = server
        return here

    yield of
    for server in servers:
        server.__exit__()


def by_hand(trained, rewards, prompt=PROMPT):
    """Who is asked, and who answers, by a session in Python."""
    session, asked = trained.session(prompt), []
    while session.next is not None:
        asked.append(session.next)
        session.observe(rewards[session.next])
    return asked, session.answer.member


def streamed(name):
    """A member's answer in parts, and the bytes of it."""
    whole = [
        event({**chunk(""), "choices": []}),
        *(event(chunk(text)) for text in (name[:3], name[3:])),
        event(b"[DONE]"),
    ]
    return parts(*whole), b"".join(whole)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stream", [False, True])
def test_members_are_asked_as_a_session_asks_them_and_its_answer_is_sent_unchanged(
    judged, trained, tmp_path, policy, stream
):
    rng, sent, rewards = np.random.default_rng(0), {}, {}
    here = judged(rewards, log={"folder": str(tmp_path), "prompts": True})
    for name in trained.members:
        body = json.dumps(completion(name), indent=2).encode()
        script, sent[name] = streamed(name) if stream else (reply(body), body)
        here.members[name].script = script
    expected = []
    for i in range(6):
        prompt = f"{PROMPT} {i}"
        rewards.update(zip(trained.members, rng.normal(0.3, 0.6, 3).tolist(), strict=True))
        asked, best = by_hand(trained, rewards, prompt)
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
        answer = here.chat({**CHAT, "messages": messages, "stream": stream})
        assert answer.content == sent[best]
        assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
        told = [answer.headers[f"x-erp-{key}"] for key in ("schema", "path", "member", "asked")]
        assert told == ["1", "routed", best, ",".join(asked)]
        expected.append([(name, rewards[name]) for name in asked])
        last = here.judge.asked[-1].body
        assert last == {"prompt": prompt, "messages": messages, "response": asked[-1]}
    records = here.kept(tmp_path, 6)
    assert [[(one["member"], one["reward"]) for one in record["asked"]] for record in records] == expected
    assert len(set(map(str, expected))) > 1
    assert [record["propensity"] for record in records] == [None] * 6
    assert records[0]["asked"][0]["completion_tokens"] == (None if stream else 3)
    counts = here.client.get("/metrics").text
    calls = sum(map(len, expected))
    assert f"erp_judge_calls_total {calls}.0" in counts
    assert (f"erp_asked_sum {calls}.0" in counts, "erp_asked_count 6.0" in counts) == (True, True)
    with pytest.raises(ErpError, match=r"answers were judged before one was sent \(6\)"):
        drawn_from(str(tmp_path), trained.members)  # which one was sent is no chance


def test_an_llm_grades_as_it_did_when_the_table_was_scored(setting, trained, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    grades = dict(zip(trained.members, (3, 9, 5), strict=True))

    async def verdict(asked, writer):
        name = next(name for name in grades if f"<response>\n{name}\n" in asked.body["messages"][0]["content"])
        await reply(completion(f"It is so.\nScore: {grades[name]}"))(asked, writer)

    with Member(verdict) as server:
        node = yaml.safe_load((ROOT / "conf" / "reward_model" / "judge.yaml").read_text())
        node |= {"base_url": server.url, "api_key_env": "JUDGE_KEY", "rescale": "unit"}
        here = setting(judge={"reward_model": node}, endpoint=PATIENT)
        answer = here.chat()
        assert (answer.headers["x-erp-member"], answer.headers["x-erp-path"]) == (trained.members[1], "routed")
        (first, *_) = server.asked
        assert (first.path, first.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-judge")
        assert f"<prompt>\n{PROMPT}\n" in first.body["messages"][0]["content"]
        assert len(server.asked) == 3
        server.script = reply(completion("Score: 11"))
        assert here.chat().headers["x-erp-path"] == "unjudged"


async def hangs(_, writer):
    await asyncio.sleep(5)


async def hangs_up(_, writer):
    writer.close()


FAULTS = {
    "500": reply({}, 500), "302": reply({}, 302, location="http://127.0.0.1:9/"), "hangs": hangs, "gone": hangs_up,
    "NaN": reply(b'{"reward": NaN}'), "text": reply({"reward": "0.9"}), "truth": reply({"reward": True}),
    "no JSON": reply(b"good"), "a list": reply([1]), "huge": reply(b'{"reward": ' + b"1" * 400 + b"}"),
    "endless": reply(b" " * 200_000),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_judge_that_fails_costs_nobody_an_answer(judged, trained, fault):
    here = judged(script=FAULTS[fault], judge={"timeout_s": 0.3}, breaker_failures=2, breaker_s=60)
    first = trained.session(PROMPT).next
    for _ in range(3):
        answer = here.chat()
        assert answer.json() == completion(first)
        told = [answer.headers[f"x-erp-{key}"] for key in ("path", "member", "asked")]
        assert told == ["unjudged", first, first]
    assert len(here.judge.asked) == 2  # and then it is left alone
    assert "erp_judge_failures_total 2.0" in here.client.get("/metrics").text


@pytest.mark.parametrize("first", [3.0, -3.0])
def test_an_answer_that_is_not_judged_counts_as_it_was_predicted(judged, trained, first):
    asked, _ = by_hand(trained, dict.fromkeys(trained.members, 0.0))

    async def once(call, writer):
        await (reply({"reward": first}) if call.body["response"] == asked[0] else reply({}, 500))(call, writer)

    answer = judged(script=once).chat()
    assert answer.headers["x-erp-asked"] == ",".join(asked[:2])
    assert answer.headers["x-erp-path"] == "unjudged"
    assert answer.headers["x-erp-member"] == asked[0 if first > 0 else 1]


def test_an_answer_without_words_is_sent_as_it_is(judged, trained):
    here = judged(dict.fromkeys(trained.members, 0.0))
    here.members[trained.session(PROMPT).next].script = reply(b'{"choices": ')
    answer = here.chat()
    assert (answer.content, answer.headers["x-erp-path"], here.judge.asked) == (b'{"choices": ', "unjudged", [])


def spend_of(here, usd_per_day):
    """What a gateway counts from now on, at 10 USD per million tokens read and 1,000 written."""
    state = State()
    prices = {name: Price(name, 10.0, 1000.0) for name in here.members}
    spend = Spend(Budget(usd_per_day=usd_per_day), 0.0, prices, state)
    here.gateway.served = Bundle(here.gateway.served.predictor, spend)
    return lambda: state.spent(here.gateway.clock())[1]


def test_every_answer_and_every_call_of_the_judge_is_paid_and_a_cap_ends_the_asking(judged, trained, tmp_path):
    each, rewards = 7e-5 + 3e-3, dict(zip(trained.members, (0.1, 0.2, 0.3), strict=True))
    here = judged(rewards, judge={"usd_per_call": 0.01}, log={"folder": str(tmp_path)})
    spent = spend_of(here, 1e9)
    assert here.chat().headers["x-erp-member"] == trained.members[2]  # lambda = 0: everyone is asked, the best is sent
    (record,) = here.kept(tmp_path, 1)
    assert spent() == pytest.approx(3 * each + 3 * 0.01)
    assert [one["cost_usd"] for one in record["asked"]] == pytest.approx([each] * 3)
    assert (record["cost_usd"], record["judge_usd"]) == pytest.approx((each, 0.03))
    spent = spend_of(here, 0.02)
    asked, _ = by_hand(trained, rewards)
    answer = here.chat()
    assert answer.headers["x-erp-asked"] == ",".join(asked[:2])
    assert answer.headers["x-erp-member"] == max(asked[:2], key=rewards.get)
    assert spent() == pytest.approx(2 * (each + 0.01))
    assert (here.chat().headers["x-erp-path"], len(here.judge.asked)) == ("budget", 5)


FAILS = {"500": reply({}, 500), "breaks off": parts(event(chunk("x")), end=False), "refuses": reply({"error": {}}, 400)}


@pytest.mark.parametrize("fault", FAILS)
def test_who_fails_is_passed_over_and_what_is_in_hand_is_sent(judged, trained, fault):
    rewards = dict(zip(trained.members, (0.1, 0.2, 0.3), strict=True))
    here = judged(rewards)
    asked, _ = by_hand(trained, rewards)
    here.members[asked[1]].script = FAILS[fault]
    answer = here.chat()
    others = [asked[0], asked[2]]
    assert answer.headers["x-erp-member"] == max(others, key=rewards.get)
    assert answer.headers["x-erp-path"] == "routed"
    assert {call.body["response"] for call in here.judge.asked} == set(others)
    for name in asked[1:]:
        here.members[name].script = FAILS[fault]
    assert here.chat().json() == completion(asked[0])
    here.members[asked[0]].script = FAILS[fault]
    last = here.chat()
    assert last.status_code == {"500": 502, "breaks off": 503, "refuses": 400}[fault]


@pytest.mark.parametrize("policy", ["pair"])
def test_who_the_policy_would_not_ask_answers_where_those_fail(judged, trained, policy):
    here = judged({})
    for m in (2, 0):
        here.members[trained.members[m]].script = reply({}, 500)
    answer = here.chat()
    assert (answer.json(), answer.headers["x-erp-path"]) == (completion(trained.members[1]), "fallback")
    assert here.judge.asked == []


@pytest.mark.parametrize("policy", ["cascade"])
def test_nobody_is_asked_once_there_is_no_time(judged, trained, policy):
    here = judged(dict.fromkeys(trained.members, 0.0), judge={"within_s": 1.5})
    chain = [trained.members[m] for m in (2, 0, 1)]
    here.members[chain[1]].script = hangs
    answer = here.chat()
    assert (answer.json(), answer.headers["x-erp-path"]) == (completion(chain[0]), "routed")
    assert here.members[chain[1]].asked[0].gone.wait(2)
    assert not here.members[chain[2]].asked


def test_a_client_that_goes_away_takes_the_call_of_the_judge_along(judged):
    here = judged(script=hangs)
    with pytest.raises(httpx2.ReadTimeout):
        here.client.post("/v1/chat/completions", content=json.dumps(CHAT), timeout=1.5)
    assert here.judge.asked[0].gone.wait(2)
    assert sum(here.asked) == 1


def test_what_is_judged_and_what_is_not(gateway, trained):
    judge = {"url": "http://127.0.0.1:9/reward"}
    served = gateway(judge=judge, policies=["lambda"])
    found = decide(served)
    first = trained.session(PROMPT).next
    assert (found.session.next, found.decision.member, found.decision.path) == (first, first, "routed")
    tool = {"type": "function", "function": {"name": "f"}}
    for more in ({"tools": [tool]}, {"n": 2}, {"wish": Wishes(lambda_=0.0)}, {"model": trained.members[0]}):
        assert decide(served, **more).session is None
    assert decide(served, GONE_ON).session is not None  # nobody is pinned yet
    served.state.pins[found.pin] = first
    assert decide(served, GONE_ON).session is None
    drawn = decide(gateway(judge=judge, explore=0.1, draw=lambda: 0.0))
    # Judged ones say nothing of another policy; of those that do, each member has the same share.
    assert (drawn.session, drawn.decision.propensity) == (None, pytest.approx(1 / 3))
    assert decide(gateway(judge=judge, explore=0.1, draw=lambda: 0.0), n=2).decision.propensity < 0.95
    assert decide(gateway()).session is None
    able = [name for name in trained.members if name != first]
    fewer = decide(gateway(judge=judge, capable={first: {"context": 1}}))
    assert fewer.decision.path == "filtered"
    while fewer.session.next is not None:
        able.remove(fewer.session.next)
        fewer.session.observe(-9.0)
    assert able == []  # those who can answer, and no others


def test_the_judge_of_the_docs_works_as_it_is_printed(setting, trained):
    printed = blocks(ROOT / "docs" / "serve.md")
    (code,) = (block.code for block in printed if block.path == "judge.py")
    (node,) = (yaml.safe_load(block.code)["judge"] for block in printed if block.code.startswith("judge:"))
    space = {}
    exec(code, space)
    with Served(space["app"]) as judge:
        here = setting(judge={**node, "url": f"{judge.url}{urlsplit(node['url']).path}"}, endpoint=PATIENT)
        asked, _ = by_hand(trained, dict.fromkeys(trained.members, 0.0))
        here.members[asked[1]].script = reply(completion("a prime"))
        answer = here.chat()
        assert (answer.headers["x-erp-member"], answer.headers["x-erp-path"]) == (asked[1], "routed")


@pytest.mark.parametrize(("keys", "gateway", "words"), [
    ({"lambda": 1.0}, {}, "lambda = 1 decides in place of the run's policy"),
    ({}, {"budget": {"mean_usd": 0.1}}, "gateway.budget.mean_usd decides by a lambda of its own"),
])  # fmt: skip
def test_what_would_decide_without_looking_is_refused_beside_a_judge(judged_runs, trained, keys, gateway, words):
    members = [{"name": name, "base_url": "http://x/v1"} for name in trained.members]
    gateway = {"members": members, "judge": {"url": "http://x/reward"}, **gateway}
    with pytest.raises(ErpError, match=f"gateway.judge: nobody .*{words}"):
        opened(ServeConfig.model_validate({"run": str(judged_runs / "reservation"), "gateway": gateway, **keys}))
