"""What stands under ``data``: where a reward table comes from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.build import LABEL, build
from erp.config import Plug, Pool, RewardModel
from erp.errors import ErpError
from erp.shared import shared
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.complete import complete_pool
from erp.table.rows import checked_table, under_our_names
from erp.table.schema import RewardTable
from erp.table.select import select_members
from erp.table.shape import selection

if TYPE_CHECKING:
    import pandas as pd


class TableSource:
    """Base of all sources of a reward table.

    An argument that is called ``path`` is one: ``~`` is the home folder, a local one stands absolute in a run's
    ``config.yaml``, and reports call the table by its last part.

    Attributes:
        preferred: reward model of a table with several, where none is named.
    """

    preferred: str | None = None

    def rows(self) -> pd.DataFrame:
        """The table in the long form, a row a reward: prompt, model, reward, and any other column of a table of files.

        Values are raw: they are checked, and every fault is named, after this.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rows")

    def folder(self) -> Path | None:
        """Where the folder form of the table lies, which may hold the responses; None: it has none."""
        return None

    def read(self, reward_model: str | None = None, prompt_from: PromptFrom | None = None) -> RewardTable:
        """The table of one reward model.

        Args:
            reward_model: whose rewards; None for the only one there is.
            prompt_from: what a router that is at hand was trained to be asked of a conversation; None: there is none.

        Raises:
            ErpError: every fault of the table.
        """
        frame, rule = self.rows().reset_index(drop=True), prompt_from or DEFAULT_RULE
        chosen = selection("data", list(frame.columns), {})
        rows = under_our_names("data", frame, chosen, rule)
        return checked_table([rows], chosen, "data", table="the table", reward_model=reward_model, prompt_from=rule)


def load_table(data: Plug, reward_model: RewardModel, pool: Pool) -> RewardTable:
    """The reward table of one reward model and one pool. In a sweep it may be the one that an earlier job read.

    Args:
        data: node of a `TableSource`.
        reward_model: whose scores.
        pool: whose members.

    Raises:
        ErpError: every fault found.
    """
    names = None if pool.members is None else [member.name for member in pool.members]
    if names is not None and len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ErpError(f"pool.members = {', '.join(twice)}: named twice; name each member once")
    table = shared("table", lambda: build(data, TableSource, key="data").read(reward_model.name),
                   _as_it_lies(data), reward_model.name, most=2)  # fmt: skip

    def of_pool() -> RewardTable:
        chosen = select_members(table, names)
        return complete_pool(chosen) if pool.complete == "auto" else chosen

    return shared("pool", of_pool, table, json.dumps(names), pool.complete)


def _as_it_lies(data: Plug) -> str:
    """The node, with size and time of the local files that it names: what a sweep knows the same table by.

    What lies elsewhere is taken to stay the same while a sweep runs.
    """
    node = with_absolute_path(data)
    path = Path(str(node.get("path", "")))
    files = [path]
    if path.is_absolute() and not path.is_file():
        files = sorted(path.rglob("*") if path.is_dir() else Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    facts = [(str(file), (at := file.stat()).st_size, at.st_mtime_ns) for file in files if file.is_file()]
    return json.dumps([node, facts], sort_keys=True, default=str)


def table_label(data: Plug) -> str:
    """How a table is called in reports: by its path's last part, else as the option is."""
    return str(data["path"]).rstrip("/").split("/")[-1] if "path" in data else str(data.get(LABEL, "data"))


def with_absolute_path(data: Plug) -> Plug:
    """The node as it says the same from any working directory."""
    path = data.get("path")
    if not isinstance(path, str) or "://" in path:
        return data
    return {**data, "path": str(Path(path).expanduser().resolve())}


def as_words(data: Plug) -> str:
    """The node as it is given on a command line."""

    def given(node: Mapping[str, Any], prefix: str) -> list[str]:
        words = []
        for name, value in node.items():
            if isinstance(value, Mapping):
                words += given(value, f"{prefix}{name}.")
            elif value is not None and name not in (LABEL, "_target_"):
                words.append(f"{prefix}{name}={value}")
        return words

    return shlex.join([f"data={data.get(LABEL)}", *given(data, "data.")])
