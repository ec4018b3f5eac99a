"""Which prompts of a source are kept: the first ones, or a stratified sample that does not depend on row order."""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from erp.collect.prompts.base import Prompt
from erp.errors import ErpError
from erp.table.partitions import on_disk
from erp.table.texts import exact

Balance = Literal["proportional", "equal"]


def check_limit(limit: int | None) -> None:
    """Raise ErpError unless ``limit`` is None or a number of prompts."""
    if limit is not None and limit < 1:
        raise ErpError(f"prompts.limit = {limit}: give 1 or more, or null for all")


def ticket(text: str, seed: int) -> int:
    """The text's own place in the draw of ``seed``: a keyed hash, 64 bits of it blanks aside, 64 of the very text."""
    very = exact(text)
    parts = (plain.encode("utf-8", "surrogatepass") for plain in (" ".join(very.split()), very))
    key = str(seed).encode()
    return int.from_bytes(b"".join(hashlib.blake2b(part, digest_size=8, key=key).digest() for part in parts))


def quotas(sizes: Mapping[str, int], total: int, balance: Balance) -> dict[str, int]:
    """How many to take of each stratum, ``min(total, all there are)`` together.

    ``proportional`` rounds by the largest remainder. ``equal`` gives every stratum the same number; what a small one
    cannot give goes to the others. Ties go by name.
    """
    everything = sum(sizes.values())
    left = min(total, everything)
    if balance == "equal":
        shares: dict[str, int] = {}
        for rank, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
            shares[name] = min(sizes[name], left // (len(sizes) - rank))
            left -= shares[name]
        return shares
    shares = {name: left * size // everything for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(left * sizes[name] % everything), name))
    for name in by_remainder[: left - sum(shares.values())]:
        shares[name] += 1
    return shares


class First:
    """The first ``limit`` prompts of distinct text; None for all. ``repeats`` counts the others that were read."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.repeats = 0

    def of(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        """Pass on what is kept, and read no further than that."""
        seen: set[int] = set()
        for prompt in prompts:
            key = ticket(prompt.whole, 0)
            if key in seen:
                self.repeats += 1
                continue
            seen.add(key)
            yield prompt
            if len(seen) == self.limit:
                return


@dataclass
class _Stratum:
    """The smallest tickets of one category so far, where their prompts lie, and how many distinct texts it has."""

    size: int = 0
    most: int | None = None  # no ticket above it is drawn any more
    held: dict[int, int] = field(default_factory=dict)


class _Aside:
    """Prompts in a file without a name: millions of them, in an order that nobody knows yet, are more than memory."""

    def __init__(self) -> None:
        with on_disk():
            self._file = tempfile.TemporaryFile(prefix="erp-")  # noqa: SIM115 - closed with the draw
        weakref.finalize(self, self._file.close)

    def put(self, prompt: Prompt) -> int:
        """Where it lies."""
        with on_disk():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps([getattr(prompt, name) for name in Prompt.__slots__]).encode() + b"\n")
        return place

    def get(self, place: int) -> Prompt:
        """The one that lies there."""
        self._file.seek(place)
        return Prompt(*json.loads(self._file.readline()))


class Draw:
    """A sample of ``limit`` prompts of distinct text, stratified by category, in one pass.

    Every text has a ticket, a hash of the seed and itself; a category's share is filled with its smallest tickets, and
    the sample comes in the order of its tickets. So the same prompts are drawn whatever the order of rows, a larger
    limit keeps what a smaller one drew (up to the rounding of shares), and any beginning of the sample is a sample.
    In memory are a number for each text seen, and at most ``3 * limit`` places of prompts of a category; prompts lie in
    the folder for temporary files (``TMPDIR``).

    A text that stands under several categories counts for the first of them in the alphabet.

    Attributes:
        repeats: prompts whose text had been seen before.
    """

    def __init__(self, limit: int | None, seed: int, balance: Balance = "proportional") -> None:
        self.limit = limit
        self.seed = seed
        self.balance = balance
        self.repeats = 0
        self._home: dict[int, str] = {}
        self._strata: dict[str, _Stratum] = {}
        self._prompts = _Aside()

    def add(self, prompt: Prompt) -> None:
        """Enter one prompt."""
        key, name = ticket(prompt.whole, self.seed), prompt.category or ""
        home = self._home.get(key)
        if home is not None:
            self.repeats += 1
            if home < name:
                return
            old = self._strata[home]
            old.size -= 1
            place = old.held.pop(key, None)
            if home == name and place is not None:  # line ends alone differ: the choice is not the order of rows'
                prompt = min(prompt, self._prompts.get(place), key=lambda p: p.whole)
        self._home[key] = name
        stratum = self._strata.setdefault(name, _Stratum())
        stratum.size += 1
        if stratum.most is not None and key > stratum.most:
            return
        stratum.held[key] = self._prompts.put(prompt)
        if self.limit is not None and len(stratum.held) > 3 * self.limit:
            # ``limit`` would do, but that a text still may move to a category before this one
            kept = heapq.nsmallest(2 * self.limit, stratum.held)
            stratum.held, stratum.most = {key: stratum.held[key] for key in kept}, kept[-1]

    def sizes(self) -> dict[str, int]:
        """Distinct texts of each category, by name; "" is none."""
        return {name: stratum.size for name, stratum in sorted(self._strata.items()) if stratum.size}

    def shares(self) -> dict[str, int]:
        """How many of each category are drawn."""
        sizes = self.sizes()
        return sizes if self.limit is None else quotas(sizes, self.limit, self.balance)

    def drawn(self) -> Iterator[Prompt]:
        """The sample, in the order of its tickets."""
        chosen: dict[int, int] = {}
        for name, share in self.shares().items():
            held = self._strata[name].held
            chosen |= {key: held[key] for key in heapq.nsmallest(share, held)}
        return (self._prompts.get(chosen[key]) for key in sorted(chosen))
