"""Where a table's samples are kept: columns in memory, or where there are many, mapped from a file without a name."""

from __future__ import annotations

import mmap
import os
import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.table.partitions import BLOCK_ROWS, on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

MAPPED_ROWS = 1 << 24
"""Samples from which columns are mapped: about 1 GiB in memory. The file is one of the folder for temporary files."""
_WHOLE = ("prompt", "member", "sample", "n_samples")
_NARROW = {"prompt": np.int32, "member": np.int32}


class Store:
    """Columns of so many rows, filled bit by bit.

    Mapped columns are as narrow as their values allow: rewards in single precision only where that holds the very
    values. A column of one value takes no room there.

    Args:
        rows: how many.
        single: columns that single precision holds exactly.
        constant: columns of one value, and it.
        columns: all of them.
    """

    def __init__(
        self, rows: int, columns: Collection[str], single: Collection[str] = (), constant: Mapping[str, float] = {}
    ) -> None:
        self._mapped = rows > MAPPED_ROWS
        self._columns: dict[str, NDArray[Any]] = {}
        for name in columns:
            kind = np.dtype(np.int64 if name in _WHOLE else np.float64)
            if not self._mapped:
                self._columns[name] = np.full(rows, constant.get(name, 0), dtype=kind)
            elif name in constant:
                self._columns[name] = np.broadcast_to(np.array(constant[name], dtype=kind), rows)
            else:
                narrow = np.float32 if name in single else _NARROW.get(name, kind)
                with on_disk(), tempfile.TemporaryFile(prefix="erp-") as file:
                    if hasattr(os, "posix_fallocate"):  # else a full disk kills the process that writes to the map
                        os.posix_fallocate(file.fileno(), 0, rows * np.dtype(narrow).itemsize)
                    self._columns[name] = np.memmap(file, dtype=narrow, mode="w+", shape=(rows,))
        self._constant = constant

    def put(self, at: NDArray[np.int64] | slice, rows: Mapping[str, NDArray[Any]] | pd.DataFrame) -> None:
        """Write rows to their places."""
        for name, column in self._columns.items():
            if name not in self._constant:
                column[at] = rows[name]
        self.rest()

    def rest(self) -> None:
        """Let go of what is mapped: its bytes are in the file."""
        for column in self._columns.values():
            _let_go(column)

    def frame(self) -> pd.DataFrame:
        """The columns, not copied."""
        return pd.DataFrame({name: np.asarray(column) for name, column in self._columns.items()}, copy=False)


def blocks(
    samples: pd.DataFrame, prompts: NDArray[np.int64] | int, columns: Sequence[str] | None = None
) -> Iterator[tuple[slice, pd.DataFrame]]:
    """A table's samples by runs of prompts: where these stand among those asked for, and their samples.

    All of up to `MAPPED_ROWS` samples are one run, their own frame. Of more each run is read from the file anew, in the
    types of `erp.table.schema.RewardTable`.

    Args:
        samples: of a table, sorted by prompt.
        prompts: how many it has; or some of them, ascending.
        columns: those that are read; None for all.
    """
    names = list(samples) if columns is None else [name for name in columns if name in samples]
    prompt = samples["prompt"].to_numpy()
    if isinstance(prompts, int) and len(samples) <= MAPPED_ROWS:
        yield slice(0, prompts), samples[names]
        return
    wanted = (np.arange(prompts) if isinstance(prompts, int) else prompts).astype(prompt.dtype)
    behind = np.searchsorted(prompt, wanted, side="right")
    block = np.cumsum(behind - np.searchsorted(prompt, wanted)) // BLOCK_ROWS
    cuts: Sequence[int] | NDArray[np.int64] = np.flatnonzero(np.diff(block)) + 1 if len(samples) > MAPPED_ROWS else []
    for low, high in pairwise([0, *cuts, len(wanted)]):
        yield slice(int(low), int(high)), of_prompts(samples[names], wanted[low:high])


def of_prompts(samples: pd.DataFrame, prompts: NDArray[np.int64]) -> pd.DataFrame:
    """Those of a table's samples that are of some prompts, in memory.

    Args:
        samples: of a table, sorted by prompt.
        prompts: ascending.
    """
    prompt = samples["prompt"].to_numpy()
    wanted = prompts.astype(prompt.dtype)
    start = np.searchsorted(prompt, wanted)
    sizes = np.searchsorted(prompt, wanted, side="right") - start
    at = np.repeat(start - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    found = standard(samples.iloc[at])
    for name in samples:
        _let_go(samples[name].to_numpy())
    return found


def changed(samples: pd.DataFrame, prompts: int, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Samples of which a change made others, run of prompts by run of prompts; it may leave rows out, and add none.

    Args:
        samples: of a table.
        prompts: how many it has.
        change: rows of some prompts -> those that take their place, in the order of a table.
    """
    if len(samples) <= MAPPED_ROWS:
        return change(samples).reset_index(drop=True)
    names = [str(name) for name in samples]
    single = [name for name in names if samples[name].dtype == np.float32]
    store, filled = Store(len(samples), names, single), 0
    for _, rows in blocks(samples, prompts):
        now = change(rows)
        store.put(slice(filled, filled + len(now)), now)
        filled += len(now)
    return store.frame().iloc[:filled]


def standard(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples in memory: whole numbers of 64 bits, double precision."""
    types: dict[Any, str] = {name: "int64" if name in _WHOLE else "float64" for name in samples}
    return samples.astype(types)


def _let_go(column: NDArray[Any]) -> None:
    base: Any = column
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        base.madvise(mmap.MADV_DONTNEED)
