"""A config that was resolved when it was made, and may be somebody else's now: nothing in it is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erp.config.older import with_data_target
from erp.errors import ErpError
from erp.files import places_of


def resolved(content: object, where: str, remedy: str = "write the value itself") -> dict[str, Any]:
    """The config as this version writes it. Raises ErpError, a line for a key: no mapping, too deep, or with ``${``."""
    if not isinstance(content, Mapping):
        raise ErpError(f"{where}: is no mapping; give a run folder's config.yaml")
    try:
        referring = places_of("${", content)
    except ValueError as error:
        raise ErpError(f"{where}: {error}; give a run folder's config.yaml") from None
    if referring:
        raise ErpError(
            *(f"{where}: {key} holds ${{, and nothing is looked up for a resolved config; {remedy}"
              for key in referring)
        )  # fmt: skip
    return with_data_target(content)
