"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded, and for the processes that tests start: workers side by side share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture
def tables() -> Path:
    """Folder of real reward tables, which are not ours to ship."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ERP_TEST_TABLES", beside))
    if not folder.is_dir():
        pytest.skip("no real reward tables: ERP_TEST_TABLES names no folder that holds them")
    return folder
