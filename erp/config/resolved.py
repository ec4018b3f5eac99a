"""A config that was resolved when it was made, and may be somebody else's now: nothing in it is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erp.errors import ErpError
from erp.files import places_of
from erp.formats.renamed import with_new_targets
from erp.formats.run import RUN


def read_resolved(content: object, where: str) -> dict[str, Any]:
    """A run's config as this erp writes it, without its form's number. Raises ErpError, as `require_resolved`."""
    return RUN.read(with_new_targets(dict(require_resolved(content, where))), where)


def require_resolved(content: object, where: str, remedy: str = "write the value itself") -> Mapping[str, Any]:
    """Refuse what is no resolved config: no mapping, too deep, or with ``${``. Raises ErpError, a line for a key."""
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
    return content
