"""Near-duplicate texts: which share so many character shingles that one tells the answer to the other.

Candidates come from MinHash signatures (Broder 1997) cut into bands (Mining of Massive Datasets, chapter 3); every one
is verified by the exact Jaccard similarity of its two shingle sets. Nothing is random: the hashes have a fixed seed.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from erp.files import replacing
from erp.table.similar import Search
from erp.table.texts import text_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST_SHARE = 0.05  # of a table's prompts: a larger component would make the parts of a split lumpy
SMALLEST_LIMIT = 10  # prompts: in a small table 5% is one prompt, and nothing would ever be joined
STRICTER = (0.9, 0.95)  # after these, equal texts only

_FORMAT = "near-duplicates 1"  # of what is kept: another search, another cut or another form has another


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Texts that are connected by near-duplicates.

    Attributes:
        component: Number of the component of every text (N,).
        text: Number of every text (N,), the same for equal ones.
        cut: Whether the component that the text was in was too large and has been cut (N,).
    """

    component: NDArray[np.int64]
    text: NDArray[np.int64]
    cut: NDArray[np.bool_]


@dataclass(frozen=True)
class DuplicateFacts:
    """How much of a table are near-duplicates. A group is a component of two or more distinct texts.

    Attributes:
        groups: Number of groups.
        prompts: Prompts in them.
        largest: Prompts in the largest; 0 where there is none.
        cut: Prompts of components that were too large and were cut; what they then fell into counts above.
        leak: Share of prompts that a random split of the texts into halves is expected to put beside a
            near-duplicate in the other half: each text of a group of s has one there with a chance of 1 - 0.5^(s-1).
    """

    groups: int
    prompts: int
    largest: int
    cut: int
    leak: float


def duplicate_facts(found: NearDuplicates) -> DuplicateFacts:
    """Count what `near_duplicates` found."""
    _, first = np.unique(found.text, return_index=True)
    distinct = np.bincount(found.component[first])
    prompts = np.bincount(found.component)
    groups = distinct > 1
    parted = prompts @ (1.0 - 0.5 ** (distinct - 1.0)) / max(len(found.text), 1)
    largest = int(prompts[groups].max(initial=0))
    return DuplicateFacts(int(groups.sum()), int(prompts[groups].sum()), largest, int(found.cut.sum()), float(parted))


def leak(found: NearDuplicates, test: NDArray[np.int64], train: NDArray[np.int64]) -> int:
    """How many of the test rows lie in one component with a train row."""
    return int(np.isin(found.component[test], found.component[train]).sum())


def near_duplicates(
    texts: Sequence[str], threshold: float, *, keys: NDArray[np.object_] | None = None, cache: Path | None = None
) -> NearDuplicates:
    """Components of texts that are linked where the Jaccard similarity of their shingles reaches the threshold.

    A shingle is five characters in a row; a shorter text is one shingle. The texts of a benchmark share its
    instructions and chain into one component: a component of more than 5% of the texts (and more than ten) is taken
    apart again at 0.9, then 0.95, then down to equal texts. The result is a function of the set of texts, not of
    their order. Up to 0.3% of the links right at the threshold are missed, and next to none of those 0.1 above it. In a
    bucket of many texts a text is compared with its nearest ones by signature only, so that 15,000 prompts of one
    template take seconds.

    Args:
        texts: Texts (N,), with white space and case folded already; equal ones are always of one component.
        threshold: Above 0, up to 1.
        keys: `text_hash` of every text (N,), where it is at hand.
        cache: Folder in which what was found for these texts is kept for the next time; None: nowhere.
    """
    hashes = np.array([text_hash(text) for text in texts] if keys is None else keys, dtype="S32")
    distinct, first, code, count = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    content = hashlib.sha256(f"{_FORMAT} {threshold!r}\n".encode() + distinct.tobytes() + count.tobytes()).hexdigest()
    kept = None if cache is None else cache / "near-duplicates" / f"{content[:32]}.npz"
    found = None if kept is None else _read(kept, len(distinct))
    if found is None:
        found = _components([texts[i] for i in first], count, threshold)
        if kept is not None:
            _write(kept, *found)
    component, cut = found
    return NearDuplicates(component[code], code.astype(np.int64), cut[code])


def _components(
    texts: Sequence[str], count: NDArray[np.int64], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Number of the component of every distinct text (D,), of so many prompts each, and whether it has been cut."""
    search = Search(texts)
    limit = max(LARGEST_SHARE * count.sum(), SMALLEST_LIMIT)
    component, cut = np.arange(len(texts)), np.zeros(len(texts), dtype=bool)
    pending = [(np.arange(len(texts)), threshold)]
    while pending:
        rows, level = pending.pop()
        _, first, labels = np.unique(search.components(rows, level), return_index=True, return_inverse=True)
        component[rows] = rows[first][labels]
        large = (np.bincount(labels, count[rows]) > limit) & (np.bincount(labels) > 1)
        for label in np.flatnonzero(large):
            members = rows[labels == label]
            cut[members] = True
            component[members] = members
            pending += [(members, stricter) for stricter in STRICTER if stricter > level][:1]
    return np.unique(component, return_inverse=True)[1].astype(np.int64), cut


def _read(path: Path, size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """What was found before for so many texts; None where it was not kept, or the file is damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            component, cut = file["component"], file["cut"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return (component, cut) if component.shape == cut.shape == (size,) else None


def _write(path: Path, component: NDArray[np.int64], cut: NDArray[np.bool_]) -> None:
    """Keep what was found; where the folder cannot be written it is found again the next time."""
    with suppress(OSError), replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, component=component, cut=cut)
