"""Fixtures that several rooms share."""

from __future__ import annotations

import functools
import gc
import io
import os
import shutil
import sys
from copy import copy, deepcopy
from pathlib import Path

# Before torch is loaded, and for the processes that tests start: workers side by side share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers, the processes that tests start, and the next run share what is compiled, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hydra._internal.config_repository import CachingConfigRepository
from omegaconf import OmegaConf

from erp.evaluation.bins import binned
from tests.handmade import CASES, make_predictions, make_results

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

sys.dont_write_bytecode = False
# As `erp` itself does: Python otherwise walks through all that was imported at every 700 new objects.
gc.set_threshold(100_000, 20, 100)
os.fsync = lambda _: None  # no test pulls the plug: nobody waits for the disk


def parsed_once(load):
    """Hydra parses the same two dozen files for every config that it composes; what a text says does not change."""
    of_text = functools.lru_cache(maxsize=512)(lambda text: load(io.StringIO(text)))
    return lambda file: deepcopy(of_text(file.read())) if hasattr(file, "read") else load(file)


OmegaConf.load = staticmethod(parsed_once(OmegaConf.load))
# It also copies whatever it knows before each, though it changes nothing but the list of its sources.
CachingConfigRepository.__init__ = lambda self, delegate: vars(self).update(delegate=copy(delegate), cache={})


def pytest_collection_finish():
    """What was imported to collect the tests stays: no search for cycles walks through it again."""
    gc.freeze()


@pytest.fixture
def tables() -> Path:
    """Folder of real reward tables, which are not ours to ship."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ERP_TEST_TABLES", beside))
    if not folder.is_dir():
        pytest.skip("no real reward tables: ERP_TEST_TABLES names no folder that holds them")
    return folder


@pytest.fixture
def results():
    """Makes results by the name of a case, or by keywords over it."""
    return lambda case="plain", **more: make_results(**{**CASES[case], **more})


@pytest.fixture
def predictions():
    """Makes the predictions that belong to results."""
    return make_predictions


@pytest.fixture
def bins():
    """Makes the bins of these predictions."""
    return lambda results: binned(results, make_predictions(results))


@pytest.fixture(scope="module")
def browser():
    """A browser that is there already."""
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()
