"""A trained router on a small table, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack

import httpx2
import pytest

from erp.config.serve import Gateway as Config
from erp.serving.app import App
from erp.serving.breaker import Breakers
from erp.serving.gateway import Gateway, Served
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.opening import judge_of
from erp.serving.predict import Predictor
from erp.serving.upstream import Upstreams
from erp.trained.router import load
from tests.serving.servers import Member, completion, reply
from tests.serving.servers import Served as Server
from tests.training.tables import RIDGE, finished_run, routing_data

PROMPT = "prove the triangle theorem"
TALK = [{"role": "user", "content": PROMPT}]
CHAT = {"model": "erp/auto", "messages": TALK}


class Purse:  # in place of State and of Spend
    """Spend and pins that a test sets."""

    def __init__(self, lambda_=0.0):
        self.lambda_ = lambda_
        self.is_capped = False
        self.pins = {}

    def capped(self, now):
        return self.is_capped

    def pinned(self, key, now):
        return self.pins.get(key)

    def pin(self, key, member, now):
        self.pins[key] = member

    def add(self, usd, now):
        pass

    def record(self, member, usage, now):
        return None


def app_of(gateway):
    """The application around a gateway."""
    config, metrics = gateway.config, Metrics()
    breakers = Breakers(config.breaker_failures, config.breaker_s)
    upstreams = Upstreams(config, breakers, lambda member, _: metrics.failures.labels(member).inc())
    judge = judge_of(config, metrics)
    return App(gateway, upstreams, DecisionLog(config.log), metrics, judge=judge)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run folder, as far as loading needs it."""
    folder = tmp_path_factory.mktemp("served")
    finished_run(routing_data(), RIDGE, folder)
    return folder


@pytest.fixture
def trained(run_folder):
    return load(run_folder)


@pytest.fixture
def gateway(trained):
    """Makes a gateway; endpoints lead nowhere."""
    made = []

    def of(lambda_=None, draw=lambda: 0.999, purse=None, capable=None, **options):
        members = [
            {"name": name, "base_url": "http://127.0.0.1:9/v1", "capable": (capable or {}).get(name, {})}
            for name in trained.members
        ]
        purse = purse or Purse()
        config = Config.model_validate({"members": members, **options})
        predictor = Predictor(trained, lambda_)
        made.append(predictor)
        return Gateway(config, Served(predictor, purse), purse, draw)

    yield of
    for predictor in made:
        predictor.close()


@pytest.fixture
def ask():
    """``ask(gateway, method, path, json, headers)`` of the application, without a server."""

    def of(gateway, method, path, content=None, headers=None):
        async def once():
            app = app_of(gateway)
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                given = content if isinstance(content, bytes | None) else json.dumps(content).encode()
                found = await client.request(method, path, content=given, headers=headers)
            await app.upstreams.close()
            return found

        return asyncio.run(once())

    return of


class Setting:
    """A gateway on a port in front of three members' servers; ``order`` is in which order they are asked."""

    def __init__(self, stack, gateway, trained, scripts, endpoint, **options):
        self.members = {name: stack.enter_context(Member(reply(completion(name)))) for name in trained.members}
        made = gateway(backoff_s=0.01, **options)
        nodes = [
            node.model_copy(update={"base_url": self.members[node.name].url, "first_byte_s": 0.5,
                                    "between_bytes_s": 0.5, **endpoint})
            for node in made.config.members
        ]  # fmt: skip
        made.config = made.config.model_copy(update={"members": nodes})
        made.endpoints = {node.name: node for node in nodes}
        scores = trained.scores([PROMPT]).iloc[0].sort_values(ascending=False)
        self.order = list(scores.index)
        for name, script in zip(self.order, scripts, strict=False):
            self.members[name].script = script
        self.gateway = made
        self.served = stack.enter_context(Server(app_of(made)))
        self.client = stack.enter_context(httpx2.Client(base_url=self.served.url, timeout=20))

    def chat(self, body=None, path="/v1/chat/completions", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=json.dumps(body or CHAT), headers=named)

    def kept(self, folder, count):
        """The lines of the decision log, once there are so many: the last is written when its answer is over."""
        until = time.monotonic() + 5
        while True:
            lines = [line for file in sorted(folder.glob("*.ndjson")) for line in file.read_text().splitlines()]
            if len(lines) >= count or time.monotonic() > until:
                assert len(lines) == count
                return [json.loads(line) for line in lines]
            time.sleep(0.01)

    @property
    def asked(self):
        return [len(self.members[name].asked) for name in self.order]


@pytest.fixture
def setting(gateway, trained):
    """``setting(*scripts of the members in the order they are asked, endpoint={...}, **gateway options)``."""
    with ExitStack() as stack:
        yield lambda *scripts, endpoint=None, **options: Setting(
            stack, gateway, trained, scripts, endpoint or {}, **options
        )
