"""The formats that there are: a new one is a module beside this one, and a place in this line."""

from __future__ import annotations

from erp.table.readers.base import Reader
from erp.table.readers.csv import Csv
from erp.table.readers.json_lines import Json
from erp.table.readers.parquet import Parquet
from erp.table.readers.text import Text

READERS: dict[str, Reader] = {reader.name: reader for reader in (Parquet(), Csv(), Text(), Json())}
SUFFIXES = {suffix: reader.name for reader in READERS.values() for suffix in reader.suffixes}
"""What a file's name ends in -> the format that it is of."""
