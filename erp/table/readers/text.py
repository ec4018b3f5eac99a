"""Text: a prompt on each line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from erp.table.readers.base import Choose, Reader, Row, decoded


class Text(Reader):
    """Lines; blank ones are passed over, and keep their number. No table: a line has no columns."""

    name = "text"
    suffixes = (".txt",)
    holds_tables = False

    def rows(self, named: str, stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
        """A line as ``prompt``."""
        del choose
        for number, raw in enumerate(stream, 1):
            if line := decoded(named, raw, f"{where}line {number}").strip():
                yield f"{where}line {number}", {"prompt": line}
