"""The schema of ``erp collect``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from erp.config.nodes import Node, Plug, Pool


class Assumed(Node):
    """What a plan assumes where nothing has been measured yet."""

    completion_tokens: float | None = Field(None, gt=0)
    tflops: float = Field(40.0, gt=0)


class CollectConfig(Node):
    """``erp collect``: sample every member on every prompt, and score the responses with one reward model."""

    prompts: Plug
    pool: Pool
    engine: Plug
    reward_model: Plug
    runner: Plug
    k: int = Field(8, ge=1)
    steps: list[Literal["sample", "score"]] = Field(["sample", "score"], min_length=1)
    block: int = Field(32, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    max_failed: float = Field(0.01, ge=0, le=1)
    retries: int = Field(2, ge=0)
    retry_failed: bool = False
    out: str = "tables"
    name: str
    weights_dir: str | None = None
    dry_run: bool = False
    assume: Assumed = Assumed()
    progress: bool = True
    sweep: str | None = None

    @field_validator("pool")
    @classmethod
    def _names_members(cls, value: Pool) -> Pool:
        if value.members is None:
            raise ValueError("names no members to sample; choose pool=<option> or give pool.members=[{name: ...}]")
        return value
