"""What a run was made from and what it made, as W&B artifacts: so that W&B knows which table is behind a router."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.files import write_json

if TYPE_CHECKING:
    from wandb import Artifact

    from erp.table.schema import RewardTable

# What `erp.load` and `erp evaluate` open a run by.
MODEL_FILES = ("checkpoint.ckpt", "config.yaml", "results.json", "split.parquet")


def table_artifact(data: Mapping[str, Any], table: RewardTable, name: str, folder: Path) -> tuple[Artifact, str]:
    """The reward table that a run reads, and the alias of this version: its content's fingerprint, shortened.

    A table may be large: the artifact holds one small file that says which one it is.
    Equal content is one version, wherever it lies; where, stands in the metadata.

    Args:
        data: the config's node.
        table: of one reward model and pool.
        name: how the table is called.
        folder: where the small file is written.
    """
    import wandb

    fingerprint = table.fingerprint()
    facts = {
        "table": name,
        "fingerprint": fingerprint,
        "reward_model": table.reward_model,
        "members": list(table.members),
        "prompts": len(table.prompts),
    }
    write_json(folder / "table.json", facts)
    artifact = wandb.Artifact(_allowed(f"table-{name}"), "reward-table", metadata={**facts, "data": dict(data)})
    artifact.add_file(str(folder / "table.json"), policy="immutable")
    return artifact, fingerprint[:12]


def model_artifact(run_folder: Path, results: Mapping[str, Any], folder: Path) -> Artifact:
    """The trained router: what of a run folder is needed to open it elsewhere. The files are read where they lie.

    Args:
        run_folder: whose results are written.
        results: its ``results.json``.
        folder: where the copy's ``status.json`` is written: the run's own says ``running`` until W&B has everything.
    """
    import wandb

    run = {key: results["run"][key] for key in ("router", "backbone", "policy", "reward_model", "table", "members")}
    write_json(folder / "status.json", {"status": "ok"})
    artifact = wandb.Artifact(_allowed(run_folder.name), "model", metadata=run)
    for file in (*(run_folder / name for name in MODEL_FILES), folder / "status.json"):
        artifact.add_file(str(file), policy="immutable")
    return artifact


def _allowed(name: str) -> str:
    """A name as W&B allows it for artifacts."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[:128]
