"""The schema of ``erp import``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from erp.config.nodes import Node, Plug


class ImportConfig(Node):
    """``erp import``: other people's logs and tables, as a reward table."""

    source: Plug
    path: str = Field(min_length=1)
    out: str | None = Field(None, min_length=1)
    reward: str | None = Field(None, min_length=1)
    strict: bool = True
    prompts: str | None = None
    repeats: Literal["error", "samples"] = "error"
    progress: bool = True

    @field_validator("out")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError("is no local folder; import to one, and copy it where it belongs")
        return value
