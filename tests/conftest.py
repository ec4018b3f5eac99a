"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded, and for the processes that tests start: workers side by side share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from erp.evaluation.bins import binned
from tests.handmade import CASES, make_predictions, make_results


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
