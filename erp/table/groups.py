"""Which prompts belong together: equal normalised texts, the table's own groups, and near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from erp.table import neighbours
from erp.table.texts import folded, text_hash

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Groups:
    """Which prompts of a table belong together.

    Attributes:
        groups: Number of the component every prompt lies in (N,), in the order of their names.
        names: Key of each of those components (C,), str, sorted.
        texts: `text_key` of every prompt (N,), str.
        near: The part of it that near-duplicates make; None where they were not asked for.
    """

    groups: NDArray[np.int64]
    names: NDArray[np.object_]
    texts: NDArray[np.object_]
    near: neighbours.NearDuplicates | None

    @property
    def keys(self) -> NDArray[np.object_]:
        """Key of the component every prompt lies in (N,), str."""
        return self.names[self.groups]


def group_prompts(prompts: pd.DataFrame, near_duplicates: float | None = None, *, cache: Path | None = None) -> Groups:
    """Components of prompts that are linked by equal text, by one own group, or as near-duplicates.

    A key is the smallest own-group value in the component, else its smallest text key: a prompt that joins no component
    changes none, and one that joins a component can change its key. A prefix keeps the two kinds of key apart. Large
    components of near-duplicates are cut (see `near_duplicates`), equal texts and own groups never.

    Args:
        prompts: Frame with the columns prompt and group (str or None).
        near_duplicates: Jaccard similarity of shingles, above 0 and up to 1, from which two texts are near-duplicates;
            None = only equal texts are linked.
        cache: Folder in which near-duplicates of a table are kept; None: nowhere.
    """
    alike = [folded(prompt) for prompt in prompts["prompt"]]
    texts = np.array([text_hash(text) for text in alike], dtype=object)
    found = None
    if near_duplicates is not None:
        found = neighbours.near_duplicates(alike, near_duplicates, keys=texts, cache=cache)
    del alike  # as large as the prompts
    values, code = np.unique(texts.astype("S32"), return_inverse=True)
    own = prompts["group"].to_numpy(dtype=object)
    component = _components(code, own, found)
    smallest = np.unique(component, return_index=True)[1]  # texts are numbered in the order of their keys
    names = np.array([f"text:{key.decode()}" for key in values[smallest]], dtype=object)
    has_own = ~pd.isna(own)
    named = pd.Series(own[has_own]).groupby(component[code[has_own]]).min()
    names[named.index.to_numpy(dtype=np.int64)] = [f"group:{value}" for value in named]
    order = np.argsort(names, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Groups(place[component[code]], names[order], texts, found)


def _components(
    code: NDArray[np.int64], own: NDArray[np.object_], near: neighbours.NearDuplicates | None
) -> NDArray[np.int64]:
    """Component number of every distinct text, by the code of every prompt's; in the graph of what links them."""
    has_own = ~pd.isna(own)
    group_codes, group_values = pd.factorize(own[has_own])
    size = int(code.max(initial=-1)) + 1
    # nodes: the texts, then the groups, then the sets; each prompt is an edge between its text and what it lies in
    ends, others = [code[has_own]], [group_codes + size]
    nodes = size + len(group_values)
    if near is not None:
        ends.append(code)
        others.append(near.component + nodes)
        nodes += int(near.component.max(initial=-1)) + 1
    edges = (np.concatenate(ends), np.concatenate(others))
    graph = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][:size], dtype=np.int64)
