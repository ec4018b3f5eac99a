"""Responses that were cut at ``max_tokens``, as far as a folder tells: their rewards say less of a member."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow

from erp.table.folder import decodings

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def cut_share(cut: int, total: int, limit: object) -> str:
    """How many responses were cut, in words; ``limit`` is the member's ``max_tokens``, None where nobody says."""
    return f"{cut:,} of {total:,} responses ({cut / total:.1%}) were cut" + (
        f" at max_tokens = {limit:,}" if isinstance(limit, int) else ""
    )


def cut_notes(root: Path) -> list[str]:
    """A line for every member some of whose responses ended for their length, those of the largest share first.

    Row groups that tell that none did are not read. Nothing is said of a folder that does not know.
    """
    import pyarrow.compute as pc  # here: they take a while to import
    import pyarrow.dataset as ds

    try:
        samples = ds.dataset(sorted(map(str, (root / "samples").glob("part-*.parquet"))))
        if not {"model", "finish_reason"} <= set(samples.schema.names):
            return []
        cut = _counts(samples.scanner(["model"], filter=pc.field("finish_reason") == "length"))
        total = _counts(samples.scanner(["model"], filter=pc.field("model").isin(list(cut)))) if cut else cut
    except (OSError, pyarrow.ArrowException):  # told where the parts are read for what they hold
        return []
    limits = {name: said.get("max_tokens") for name, said in decodings(root).items()}
    return [
        f"{name}: {cut_share(cut[name], total[name], limits.get(name))}"
        for name in sorted(cut, key=lambda name: (-cut[name] / total[name], name))
    ]


def _counts(rows: ds.Scanner) -> Counter[str]:
    """Rows by member, some at a time."""
    found: Counter[str] = Counter()
    for batch in rows.to_batches():
        for one in batch.column("model").value_counts().to_pylist():
            found[str(one["values"])] += one["counts"]
    return found
