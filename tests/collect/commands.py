"""A small collection as a command, and its table as a frame."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

WORDS = ["apple", "bread", "chair", "dream", "eagle", "flame", "grape"]


def command(folder: Path, *more: str, prompts: int = 7, members: str = "[{name: small}, {name: org/big}]") -> list[str]:
    """``erp collect`` over words with the engine and the reward model that the tests know."""
    source = folder / "prompts.jsonl"
    if not source.exists():
        rows = [{"prompt_id": f"p{i}", "prompt": word, "category": "odd" if i % 2 else "even"} for i, word in
                enumerate((WORDS * (1 + prompts // 7))[:prompts])]  # fmt: skip
        for i, row in enumerate(rows):
            row["prompt"] += str(i // 7) if i >= 7 else ""
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for group, name, text in (
        ("engine", "known", f"_target_: tests.collect.fakes.KnownEngine\ndiary: {folder / 'diary'}\nseconds: 0.0\nfail: []\ndie: null\n"),
        ("reward_model", "letters",
         f"name: letters\n_target_: tests.collect.fakes.Letters\nletter: a\ndiary: {folder / 'scored'}\nbroken: false\n"),
    ):  # fmt: skip
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        (folder / "conf" / group / f"{name}.yaml").write_text(text)
    return [
        "collect", f"--config-dir={folder / 'conf'}", "prompts=jsonl", f"prompts.path={source}", f"pool.members={members}", "k=3", "block=2",
        "pool=all", "engine=known", "reward_model=letters",
        f"out={folder}", "name=table", "progress=false", *more,
    ]  # fmt: skip


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
