"""What members answered, beside what it earned: single responses of a folder table, found without reading it whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds

from erp.errors import ErpError, shorten
from erp.table.belonging import check_scores
from erp.table.folder import KEYS, scores_of

PROMPT = ["prompt_id", "prompt", "category", "reference", "messages"]
RESPONSE = ["response", "completion_tokens", "finish_reason"]


@dataclass(frozen=True)
class Wanted:
    """Which cells of a table: of some prompts, of some members, those with the least or greatest mean reward.

    Attributes:
        prompt_ids: None for any.
        members: None for all.
        end: ``worst`` or ``best`` cells; None for the first prompts of the table.
        count: how many of them.
    """

    prompt_ids: Sequence[str] | None = None
    members: Sequence[str] | None = None
    end: Literal["worst", "best"] | None = None
    count: int = 3


@dataclass(frozen=True)
class Answers:
    """Some cells of a table.

    Attributes:
        reward_model: whose rewards.
        prompts: a row a prompt: ``prompt_id``, ``prompt``, ``category``, ``reference``, in the order of the cells;
            where some prompt is a conversation, ``messages`` (JSON text).
        cells: a row a cell: ``prompt_id``, ``model``, ``mean``, ``count`` of the responses that have a reward.
        responses: a row a response: ``prompt_id``, ``model``, ``sample``, ``reward`` (NaN where missing; higher is
            better), ``response``, and what else the table holds of ``completion_tokens`` and ``finish_reason``.
    """

    reward_model: str
    prompts: pd.DataFrame
    cells: pd.DataFrame
    responses: pd.DataFrame


def read_answers(root: Path, reward_model: str | None, wanted: Wanted) -> Answers:
    """Responses of the cells wanted.

    Raises:
        ErpError: the folder is unfinished or holds no responses; a prompt or member is not there.
    """
    scores = scores_of(root, reward_model)
    check_scores(root, scores)
    samples = ds.dataset(sorted(map(str, (root / "samples").glob("part-*"))))
    if "response" not in samples.schema.names:
        raise ErpError(f"data.path = {root}: holds rewards without responses; collect or import it with them")
    rewards = ds.dataset(sorted(map(str, scores.folder.glob("part-*"))))
    prompts = ds.dataset(root / "prompts.parquet")
    prompts = prompts.to_table([name for name in PROMPT if name in prompts.schema.names]).to_pandas()
    cells = _cells(samples, rewards, prompts["prompt_id"].tolist(), wanted, 1 if scores.higher_is_better else -1)
    chosen = prompts.set_index("prompt_id").loc[cells["prompt_id"].unique()].reset_index()
    here = pc.field("prompt_id").isin(cells["prompt_id"].tolist()) & pc.field("model").isin(cells["model"].tolist())
    columns = [*KEYS, *(name for name in RESPONSE if name in samples.schema.names)]
    said = samples.to_table(columns, filter=here).to_pandas()
    said = said.merge(rewards.to_table([*KEYS, "reward"], filter=here).to_pandas(), on=KEYS, how="left")
    said = cells[["prompt_id", "model"]].merge(said, on=["prompt_id", "model"]).sort_values("sample", kind="stable")
    if not scores.higher_is_better:
        said["reward"] = 0 - said["reward"]  # no -0
    return Answers(scores.reward_model, chosen, cells.reset_index(drop=True), said.reset_index(drop=True))


def _cells(samples: ds.Dataset, rewards: ds.Dataset, prompt_ids: list[str], wanted: Wanted, sign: int) -> pd.DataFrame:
    """The cells wanted, with their mean rewards: of prompts in the table's order, or by their rewards."""
    named = wanted.prompt_ids
    if named is not None and (unknown := sorted(set(named) - set(prompt_ids))):
        raise ErpError(f"prompt_id = {shorten(unknown)}: no such prompt in the table; ids look like {prompt_ids[0]}")
    if named is None and wanted.end is None:
        named = prompt_ids[: wanted.count]
    only = None if named is None else pc.field("prompt_id").isin(list(named))
    found = rewards.to_table(["prompt_id", "model", "reward"], filter=only).group_by(["prompt_id", "model"])
    cells: pd.DataFrame = found.aggregate([("reward", "mean"), ("reward", "count")]).to_pandas()
    cells = cells.rename(columns={"reward_mean": "mean", "reward_count": "count"})
    if wanted.end is None:  # those of which no response has a reward are shown too
        answered = samples.to_table(["prompt_id", "model"], filter=only).to_pandas().drop_duplicates()
        cells = answered.merge(cells, on=["prompt_id", "model"], how="left").fillna({"count": 0}).astype({"count": int})
    if wanted.members is not None:
        members = sorted(cells["model"].unique())
        if unknown := sorted(set(wanted.members) - set(members)):
            raise ErpError(f"member = {shorten(unknown)}: no such member in the table; they are {shorten(members)}")
        cells = cells[cells["model"].isin(list(wanted.members))]
    place = {prompt_id: i for i, prompt_id in enumerate(prompt_ids)}
    cells["mean"] *= sign
    cells = cells.assign(place=cells["prompt_id"].map(place)).sort_values(["place", "model"], kind="stable")
    if wanted.end is not None:
        by = cells.dropna(subset="mean").sort_values("mean", ascending=wanted.end == "worst", kind="stable")
        cells = by.head(wanted.count)
    return cells.drop(columns="place")
