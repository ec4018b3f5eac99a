"""Pack a collected table for shipping: python pack.py <collected table> <target folder>.

One part for all samples and one for each reward model, in order of prompts as collected; the manifests as they are;
a column ``task`` beside the prompts' categories, where these are coarser than reasoning-gym's tasks; and the default
backbone's embedding of every prompt, so that a first run loads no encoder.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from erp.backbones.base import build_backbone
from erp.backbones.cache import cached_embeddings
from erp.compose import compose

KEYS = ["prompt_id", "model", "sample"]


def main(source: Path, target: Path) -> None:
    """Write the packed table; what the target held is replaced, but for its README."""
    for old in ("samples", "rewards", "features"):
        shutil.rmtree(target / old, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    prompts = pd.read_parquet(source / "prompts.parquet")
    with_tasks(prompts).to_parquet(target / "prompts.parquet", index=False, compression="zstd")
    pack(source / "samples", target / "samples", prompts["prompt_id"])
    for scores in sorted(path for path in (source / "rewards").iterdir() if (path / "manifest.json").exists()):
        pack(scores, target / "rewards" / scores.name, prompts["prompt_id"])
        shutil.copy(scores / "manifest.json", target / "rewards" / scores.name / "manifest.json")
    shutil.copy(source / "manifest.json", target / "manifest.json")
    backbone = build_backbone(compose("train", [])["backbone"], None)
    cached_embeddings(prompts["prompt"].tolist(), backbone, target / "packing")
    shutil.move(str(target / "packing" / "embeddings"), target / "features")
    shutil.rmtree(target / "packing")
    for lock in target.rglob("*.lock"):
        lock.unlink()
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    manifest = json.loads((target / "manifest.json").read_text())
    print(f"{target}: {manifest['prompts']} prompts, {len(manifest['members'])} members, {size / 1e6:.1f} MB")


def with_tasks(prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts, and the task of each where categories hold several: for who wants to look closer; erp reads none."""
    tasks = prompts["reference"].map(lambda reference: json.loads(reference)["task"])
    return prompts if (tasks == prompts["category"]).all() else prompts.assign(task=tasks)


def pack(parts: Path, target: Path, prompts: pd.Series) -> None:
    """All parts as one, sorted by prompt as collected, member and sample."""
    rows = pd.concat([pd.read_parquet(part) for part in sorted(parts.glob("part-*.parquet"))], ignore_index=True)
    assert not rows.duplicated(KEYS).any()
    order = {identity: i for i, identity in enumerate(prompts)}
    rows = rows.sort_values(KEYS, key=lambda c: c.map(order) if c.name == "prompt_id" else c)
    target.mkdir(parents=True)
    rows.to_parquet(target / "part-00000.parquet", index=False, compression="zstd")


if __name__ == "__main__":
    if len(sys.argv) != 3 or not (Path(sys.argv[1]) / "manifest.json").exists():
        sys.exit("usage: python pack.py <finished table's folder> <target folder>")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
