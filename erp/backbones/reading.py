"""What a backbone would read of a table's prompts, counted without embedding one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from erp.backbones.base import Backbone, Weighted, Windowed, plain_text
from erp.backbones.windows import long_of
from erp.build import build
from erp.config import Plug
from erp.errors import ErpError

MOST = 2000  # distinct prompts that are cut into tokens: of a larger table, so many at equal distances


def what_is_read(node: Plug, weights_dir: str | None, prompts: Sequence[str]) -> dict[str, Any]:
    """Shares of prompts that are cut, and of which the same is read as of another.

    Nothing is downloaded and no weights are loaded: where the tokenizer is not on this machine, ``reason`` says so.

    Returns:
        ``backbone``, ``window`` and ``long`` (null: all is read), ``cut``, ``alike`` (null where it is not known,
        as for several windows, or none), ``prompts`` that were looked at, and ``reason`` (null: it is known).
    """
    backbone = build(node, Backbone, key="backbone")
    if isinstance(backbone, Weighted):
        backbone.look_in(weights_dir)
    found: dict[str, Any] = {
        "backbone": node.get("name", "backbone"), "long": None, "window": None, "cut": None,
        "alike": None, "prompts": 0, "reason": None,
    }  # fmt: skip
    parts = [part for part in getattr(backbone, "parts", [backbone]) if isinstance(part, Windowed)]
    try:
        readers = [(part, reader) for part in parts if (reader := part.reader_on_disk()) is not None]
    except ErpError as error:
        return {**found, "reason": error.faults[0]}
    if not readers:
        return {**found, "cut": 0.0}
    distinct = list(dict.fromkeys(plain_text(prompt) for prompt in prompts))
    rows = np.unique(np.linspace(0, len(distinct) - 1, min(MOST, len(distinct))).astype(int))
    texts = [distinct[row] for row in rows]
    cut = np.zeros(len(texts), dtype=bool)
    for part, reader in readers:
        cut |= (reader.unread(texts) > 0) & (part.long != "mean")
    found |= {
        "window": min(reader.size for _, reader in readers), "long": long_of(node), "cut": float(cut.mean()),
        "prompts": len(texts),
    }  # fmt: skip
    if not hasattr(backbone, "parts"):  # what other parts see may tell prompts apart
        same = Counter(readers[0][1].read(texts, readers[0][0].long))
        found["alike"] = sum(count for count in same.values() if count > 1) / len(texts)
    return found
