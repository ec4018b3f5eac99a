"""Where a long table's rows come from: files of one kind, or a dataset of the hub. Values are left as they are."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from erp.errors import ErpError, shorten
from erp.table.asked import PromptFrom
from erp.table.readers.base import Selected, unreadable
from erp.table.readers.known import READERS
from erp.table.rows import under_our_names
from erp.table.shape import selection
from erp.table.shards import shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

_HUB_FILE = re.compile(r"^hf:/{1,2}datasets/[^/]+/[^/]+/.+")
_HUB = re.compile(r"^hf:/{1,2}datasets/([^/:@]+/[^/:@]+)(?::([^/]+))?$")


@dataclass(frozen=True)
class Source:
    """A long table that is not read yet.

    Attributes:
        path: a file, a folder, a pattern, or hf://datasets/<owner>/<name>[:split].
        columns: our name -> the file's name, for the columns that are named differently there.
        config_name: which configuration of a dataset of the hub.
    """

    path: str
    columns: Mapping[str, str]
    config_name: str | None = None

    @property
    def named(self) -> str:
        """How errors call it."""
        return f"data.path = {self.path}"


def long_rows(source: Source, prompt_from: PromptFrom) -> Selected:
    """Rows of a long table under our column names, to be read once.

    Raw values, but for conversations, of which the text is taken that is asked; index 0..n-1 = row of the file, or of
    all files, one behind the other in the order of their names.

    Raises:
        ErpError: The path cannot be read, or lacks columns; while the rows are read, what of it cannot be.
    """
    with _told(source):
        if source.path.startswith("hf:") and not _HUB_FILE.match(source.path):
            read = _hub(source)
        else:
            path = re.sub("^hf:/+", "hf://", source.path)  # pathlib makes one stroke of two
            kinds = [name for name, reader in READERS.items() if reader.holds_tables]
            files = shards(source.named, path, kinds)
            read = files[0].reader.select(source.named, files, source.columns)

    def batches() -> Iterator[pd.DataFrame]:
        with _told(source):
            for frame in read.batches:
                yield under_our_names(source.named, frame, read.chosen, prompt_from)

    return replace(read, batches=batches())


@contextmanager
def _told(source: Source) -> Iterator[None]:
    """Whatever a reader raises as one line: parse, decode and JSON errors, and those of every cloud's client."""
    try:
        yield
    except ErpError:
        raise
    except Exception as error:
        raise unreadable(source.named, error, "check that it is whole, of the kind its name says, and UTF-8") from error


def _hub(source: Source) -> Selected:
    match = _HUB.match(source.path)
    if match is None:
        raise ErpError(f"{source.named}: not a dataset of the hub; write hf://datasets/<owner>/<name>[:split]")
    import datasets  # here, because it is slow to import and only this form of path needs it

    name, split = match.groups()
    configured = () if source.config_name is None else (source.config_name,)
    try:
        splits = [split] if split else datasets.get_dataset_split_names(name, *configured)
        data: Any = datasets.load_dataset(name, *configured, split=splits[0]) if len(splits) == 1 else None
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        advice = "check the name, the split, data.config_name and the network"
        raise unreadable(source.named, error, advice) from error
    if data is None:
        raise ErpError(
            f"{source.named}: the dataset has several splits; they are {shorten(splits)}; "
            f"name one, for example {source.path}:{splits[0]}"
        )
    types = {
        column: str(getattr(kind, "dtype", "")) for column, kind in (getattr(data, "features", None) or {}).items()
    }
    numbers = [column for column, kind in types.items() if kind.startswith(("int", "uint", "float"))]
    chosen = selection(source.named, data.column_names, source.columns, numbers)
    return Selected(chosen, [data.select_columns(list(dict.fromkeys(chosen.values()))).to_pandas()])
