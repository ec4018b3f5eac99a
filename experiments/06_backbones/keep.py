"""Embeddings that lie in this folder, into the embedding cache: python keep.py. Rows that are there already stay.

They are those of the table that ships, by the backbones whose weights would have to be downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone
from erp.backbones.cache import cached_embeddings
from erp.backbones.store import KEY_BYTES
from erp.compose import compose
from erp.config import validate
from erp.files import cache_folder, read_json
from erp.table.source import load_table


class Kept(Backbone):
    """A folder of the embedding cache as a backbone: it knows the prompts that are in it."""

    def __init__(self, folder: Path) -> None:
        keys = (folder / "keys.bin").read_bytes()
        self.row = {keys[at : at + KEY_BYTES]: at // KEY_BYTES for at in range(0, len(keys), KEY_BYTES)}
        self.vectors = np.fromfile(folder / "vectors.f32", dtype=np.float32).reshape(len(self.row), -1)
        self.made_by = read_json(folder / "about.json")["backbone"]

    def fingerprint(self) -> str:
        """Of the backbone that made them."""
        return str(self.made_by)

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Its rows, (n, d)."""
        keys = [hashlib.sha256(prompt.encode()).digest()[:KEY_BYTES] for prompt in prompts]
        return self.vectors[[self.row[key] for key in keys]]


if __name__ == "__main__":
    config = validate("train", compose("train", []))
    prompts = load_table(config.data, config.reward_model, config.pool).prompts["prompt"].tolist()
    for folder in sorted((Path(__file__).resolve().parent / "embeddings").iterdir()):
        cached_embeddings(prompts, Kept(folder), cache_folder(None), progress=False)
