"""Which prompts belong together: equal normalised texts, the table's own groups, and near-duplicates."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from erp.table import neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalise(prompt: str) -> str:
    """Text with compatibility forms, white space and the ends folded; letters keep their case."""
    return " ".join(unicodedata.normalize("NFKC", prompt).split())


def exact(prompt: str) -> str:
    """The very text: composed Unicode (NFC) and plain line ends, which no reader can see the difference of."""
    return unicodedata.normalize("NFC", prompt).replace("\r\n", "\n").replace("\r", "\n")


def text_id(prompt: str) -> str:
    """An id made from the very text, 16 hexadecimal digits: two ids for two texts, indentation and all."""
    return text_hash(exact(prompt))[:16]


def ids_as_kept(prompts: pd.DataFrame, kept: pd.Series) -> NDArray[np.object_]:
    """Ids (N,) by which a run's folder knows prompts: ids made from texts were once of the folded text.

    Args:
        prompts: Frame with the columns prompt_id and prompt.
        kept: The ids in the folder.
    """
    known, ids = set(kept), prompts["prompt_id"].to_numpy(dtype=object).copy()
    for row in [i for i, key in enumerate(ids) if key not in known]:
        text = prompts["prompt"].iloc[row]
        before = f"p-{text_hash(normalise(text))[:16]}"
        if ids[row] == f"p-{text_id(text)}" and before in known:
            ids[row] = before
    return ids


def text_hash(text: str) -> str:
    """First 32 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_key(prompt: str) -> str:
    """Hash of the normalised text, case folded too: prompts of one key are kept together, and are not one prompt."""
    return text_hash(_folded(prompt))


def text_keys(prompts: pd.DataFrame) -> NDArray[np.object_]:
    """`text_key` of every prompt (N,)."""
    return np.array([text_key(prompt) for prompt in prompts["prompt"]], dtype=object)


def _folded(prompt: str) -> str:
    return normalise(prompt).casefold()


@dataclass(frozen=True, eq=False)
class Groups:
    """Which prompts of a table belong together.

    Attributes:
        keys: Key of the component every prompt lies in (N,), str.
        texts: `text_key` of every prompt (N,), str.
        near: The part of it that near-duplicates make; None where they were not asked for.
    """

    keys: NDArray[np.object_]
    texts: NDArray[np.object_]
    near: neighbours.NearDuplicates | None


def group_prompts(prompts: pd.DataFrame, near_duplicates: float | None = None) -> Groups:
    """Components of prompts that are linked by equal text, by one own group, or as near-duplicates.

    A key is the smallest own-group value in the component, else its smallest text key: a prompt that joins no component
    changes none, and one that joins a component can change its key. A prefix keeps the two kinds of key apart. Large
    components of near-duplicates are cut (see `near_duplicates`), equal texts and own groups never.

    Args:
        prompts: Frame with the columns prompt and group (str or None).
        near_duplicates: Jaccard similarity of shingles, above 0 and up to 1, from which two texts are near-duplicates;
            None = only equal texts are linked.
    """
    texts = text_keys(prompts)
    own = prompts["group"].to_numpy(dtype=object)
    has_own = ~pd.isna(own)
    found = None
    if near_duplicates is not None:
        found = neighbours.near_duplicates([_folded(prompt) for prompt in prompts["prompt"]], near_duplicates)
    if found is None and not has_own.any():
        return Groups(np.array([f"text:{key}" for key in texts], dtype=object), texts, None)
    component = _components(texts, own, has_own, found)
    keys = np.array([f"text:{key}" for key in pd.Series(texts).groupby(component).transform("min")], dtype=object)
    smallest = pd.Series(own[has_own]).groupby(component[has_own]).min()
    named = smallest.reindex(component).to_numpy(dtype=object)
    with_group = ~pd.isna(named)
    keys[with_group] = [f"group:{value}" for value in named[with_group]]
    return Groups(keys, texts, found)


def group_keys(prompts: pd.DataFrame, near_duplicates: float | None = None) -> NDArray[np.object_]:
    """Keys (N,) of `group_prompts`."""
    return group_prompts(prompts, near_duplicates).keys


def _components(
    texts: NDArray[np.object_],
    own: NDArray[np.object_],
    has_own: NDArray[np.bool_],
    near: neighbours.NearDuplicates | None,
) -> NDArray[np.int64]:
    """Component number of every prompt (N,), in the graph of texts, own groups and sets of near-duplicates."""
    text_codes, text_values = pd.factorize(texts)
    group_codes, group_values = pd.factorize(own[has_own])
    # nodes: the texts, then the groups, then the sets; each prompt is an edge between its text and what it lies in
    ends = [text_codes[has_own]]
    others = [group_codes + len(text_values)]
    size = len(text_values) + len(group_values)
    if near is not None:
        ends.append(text_codes)
        others.append(near.component + size)
        size += int(near.component.max(initial=-1)) + 1
    edges = (np.concatenate(ends), np.concatenate(others))
    graph = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[text_codes], dtype=np.int64)
