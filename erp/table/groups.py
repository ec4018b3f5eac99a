"""Which prompts belong together: equal normalised texts, and the table's own groups."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalise(prompt: str) -> str:
    """Text with compatibility forms, white space and the ends folded; letters keep their case."""
    return " ".join(unicodedata.normalize("NFKC", prompt).split())


def text_hash(text: str) -> str:
    """First 32 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_key(prompt: str) -> str:
    """Hash of the normalised text, case folded too: prompts of one key are the same question to a reader."""
    return text_hash(normalise(prompt).casefold())


def text_keys(prompts: pd.DataFrame) -> NDArray[np.object_]:
    """`text_key` of every prompt (N,)."""
    return np.array([text_key(prompt) for prompt in prompts["prompt"]], dtype=object)


def group_keys(prompts: pd.DataFrame) -> NDArray[np.object_]:
    """Key of the component every prompt lies in (N,): linked are prompts of equal text or of one own group.

    A key is the smallest own-group value in the component, else its text key, so that it stays when prompts are added,
    unless a new prompt joins two components. A prefix keeps the two kinds of key apart.

    Args:
        prompts: Frame with the columns prompt and group (str or None).
    """
    texts = text_keys(prompts)
    own = prompts["group"].to_numpy(dtype=object)
    has_own = ~pd.isna(own)
    keys = np.array([f"text:{key}" for key in texts], dtype=object)
    if not has_own.any():
        return keys
    component = _components(texts, own, has_own)
    smallest = pd.Series(own[has_own]).groupby(component[has_own]).min()
    named = smallest.reindex(component).to_numpy(dtype=object)
    with_group = ~pd.isna(named)
    keys[with_group] = [f"group:{value}" for value in named[with_group]]
    return keys


def _components(texts: NDArray[np.object_], own: NDArray[np.object_], has_own: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Component number of every prompt (N,), in the graph prompt - text - own group."""
    text_codes, text_values = pd.factorize(texts)
    group_codes, group_values = pd.factorize(own[has_own])
    # nodes: the texts, then the groups; each prompt with a group is an edge between its text and its group
    size = len(text_values) + len(group_values)
    edges = (text_codes[has_own], group_codes + len(text_values))
    graph = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[text_codes], dtype=np.int64)
