"""A trained router on a small table, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from erp.config.serve import Gateway as Config
from erp.serving.app import App
from erp.serving.gateway import Gateway, Served
from erp.serving.predict import Predictor
from erp.trained.router import load
from tests.training.tables import RIDGE, finished_run, routing_data


class Purse:
    """Spend and pins that a test sets."""

    def __init__(self, lambda_=0.0):
        self.lambda_ = lambda_
        self.is_capped = False
        self.pins = {}

    def capped(self, now):
        return self.is_capped

    def pinned(self, key, now):
        return self.pins.get(key)


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
            transport = httpx2.ASGITransport(App(gateway))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                given = content if isinstance(content, bytes | None) else json.dumps(content).encode()
                return await client.request(method, path, content=given, headers=headers)

        return asyncio.run(once())

    return of
