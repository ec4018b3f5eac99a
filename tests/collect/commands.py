"""A small collection as a command, and its table as a frame."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

CONF = Path(__file__).parent / "conf"
WORDS = ["apple", "bread", "chair", "dream", "eagle", "flame", "grape"]


def command(
    folder: Path,
    *more: str,
    prompts: int = 7,
    members: str = "[{name: small}, {name: org/big}]",
    conf: Path = CONF,  # one for all: what is composed of the same files is composed once
) -> list[str]:
    """``erp collect`` over words with the engine and the reward model that the tests know."""
    source = folder / "prompts.jsonl"
    if not source.exists():
        rows = [
            {"prompt_id": f"p{i}", "prompt": WORDS[i % 7] + str(i // 7 or ""), "category": "odd" if i % 2 else "even"}
            for i in range(prompts)
        ]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *("collect", f"--config-dir={conf}", "prompts=jsonl", f"prompts.path={source}"),
        *("pool=all", f"pool.members={members}", "engine=known", "reward_model=letters", "k=3", "block=2"),
        *(f"out={folder}", "name=table", "progress=false", *more),
    ]


def diary(folder: Path, name: str = "diary") -> list[list[object]]:
    """What the engine, or the reward model, was asked."""
    file = folder / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def samples(folder: Path, reward_model: str | None = "letters") -> pd.DataFrame:
    """Every row of a table, sorted by its keys, with its reward."""
    keys = ["prompt_id", "model", "sample"]
    rows = pd.concat([pd.read_parquet(part) for part in sorted((folder / "table/samples").glob("part-*.parquet"))])
    if reward_model is not None:
        parts = sorted((folder / "table/rewards" / reward_model).glob("part-*.parquet"))
        rows = rows.merge(pd.concat([pd.read_parquet(part) for part in parts]), on=keys, how="left", validate="1:1")
    return rows.sort_values(keys).reset_index(drop=True)
