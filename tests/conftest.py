"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def tables() -> Path:
    """Folder of real reward tables, which are not ours to ship."""
    folder = os.environ.get("ERP_TEST_TABLES")
    if not folder:
        pytest.skip("ERP_TEST_TABLES does not name a folder of real reward tables")
    return Path(folder)
