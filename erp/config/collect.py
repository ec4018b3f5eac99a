"""The schema of ``erp collect``."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator

from erp.config.nodes import Node, Plug, Pool, SweepName

LONGEST_NAME = 150  # escaped, so that a file system takes it as part of a file's name


class Assumed(Node):
    """What a plan assumes where nothing has been measured yet."""

    completion_tokens: float | None = Field(None, gt=0)
    tflops: float = Field(40.0, gt=0)


class CollectConfig(Node):
    """``erp collect``: sample every member on every prompt, and score the responses with one reward model."""

    prompts: Plug
    pool: Pool
    engine: Plug | None = None
    reward_model: Plug
    runner: Plug
    k: int = Field(8, ge=1)
    steps: list[Literal["sample", "score"]] = Field(["sample", "score"], min_length=1)
    block: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    max_failed: float = Field(0.01, ge=0, le=1)
    max_missing: float = Field(0.1, ge=0, le=1)
    retries: int = Field(2, ge=0)
    retry_failed: bool = False
    out: str = "tables"
    name: str | None = None
    weights_dir: str | None = None
    dry_run: bool = False
    assume: Assumed = Assumed()
    progress: bool = True
    sweep: SweepName | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """A bare step stands for a list of one."""
        return [value] if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or value in (".", "..") or "/" in value):
            raise ValueError("names no folder; give a name without /")
        return value

    @field_validator("reward_model")
    @classmethod
    def _has_a_name(cls, value: Plug) -> Plug:
        name = value.get("name")
        if not isinstance(name, str) or name.strip(". ") == "" or len(quote(name, safe="")) > LONGEST_NAME:
            raise ValueError(f"needs a name of at most {LONGEST_NAME} letters, under which its scores are kept")
        return value

    @model_validator(mode="after")
    def _collects_all(self) -> Self:
        if self.pool.complete is not None:
            raise ValueError(
                f"pool.complete = {self.pool.complete}: a collection leaves no member out; leave the key out here, and "
                f"give it to erp describe and erp train"
            )
        return self

    @model_validator(mode="after")
    def _can_sample(self) -> Self:
        """Scoring alone needs neither members nor an engine: the table has the responses."""
        if "sample" in self.steps and self.pool.members is None:
            raise ValueError(
                "pool.members: names no members to sample; choose pool=<option> or give pool.members=[{name: ...}]"
            )
        if "sample" in self.steps and self.engine is None:
            raise ValueError("engine: is required to sample; choose engine=<option>")
        return self

    @property
    def table(self) -> str:
        """Name of the table's folder: as said, else what the prompts come from is called."""
        source = self.prompts.get("path") or self.prompts.get("dataset") or self.prompts.get("name")
        if self.name is not None or source is None:
            return self.name or str(self.prompts["_target_"]).rpartition(".")[2].lower()
        last = str(source).rstrip("/").split("/")[-1]
        return last.split(".")[0] or last

    @field_validator("pool")
    @classmethod
    def _names_members(cls, value: Pool) -> Pool:
        names = [member.name for member in value.members or []]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names {', '.join(twice)} twice; each member has a name of its own")
        if long := [name for name in names if not name or len(quote(name, safe="")) > LONGEST_NAME]:
            raise ValueError(f"has a member whose name is empty or too long for a file's: {long[0][:40]}...")
        return value
