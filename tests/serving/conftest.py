"""A trained router on a small table, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from erp.config.serve import Gateway as Config
from erp.serving.app import App
from erp.serving.breaker import Breakers
from erp.serving.gateway import Gateway, Served
from erp.serving.log import DecisionLog
from erp.serving.metrics import Metrics
from erp.serving.predict import Predictor
from erp.serving.upstream import Upstreams
from erp.trained.router import load
from tests.training.tables import RIDGE, finished_run, routing_data


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

    def record(self, member, usage, now):
        return None


def app_of(gateway):
    """The application around a gateway."""
    config, metrics = gateway.config, Metrics()
    breakers = Breakers(config.breaker_failures, config.breaker_s)
    upstreams = Upstreams(config, breakers, lambda member, _: metrics.failures.labels(member).inc())
    return App(gateway, upstreams, DecisionLog(config.log), metrics)


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
