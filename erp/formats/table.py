"""The ``manifest.json`` of a reward table's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erp.formats.form import Form


def without_version(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """1: the number stands under ``format``, which was a name; it stood under ``version``."""
    return {key: value for key, value in manifest.items() if key != "version"}


TABLE = Form(without_version, name="erp-reward-table")
