"""The reward table that ships with the package."""

from __future__ import annotations

from pathlib import Path

from erp.table.asked import PromptFrom
from erp.table.read import read_table
from erp.table.schema import RewardTable
from erp.table.source import TableSource

MINI = Path(__file__).resolve().parent.parent / "mini"


class Mini(TableSource):
    """Real responses of six small members, scored by two reward models: the verifier, unless one is named."""

    preferred = "verifier"

    def folder(self) -> Path:
        """Beside the package's code."""
        return MINI

    def read(self, reward_model: str | None = None, prompt_from: PromptFrom | None = None) -> RewardTable:
        """The table of one reward model. No prompt of it is a conversation."""
        del prompt_from
        return read_table(MINI, reward_model=reward_model or self.preferred)
