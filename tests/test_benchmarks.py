"""What the benchmarks time by name is there."""

import importlib

import pytest

from benchmarks.phases import PARTS


@pytest.mark.parametrize("path", sorted({path for parts in PARTS.values() for path in parts.values()}))
def test_every_part_that_is_timed_exists(path: str) -> None:
    *where, attribute = path.split(".")
    try:
        holder = importlib.import_module(".".join(where))
    except ModuleNotFoundError:  # a method
        holder = getattr(importlib.import_module(".".join(where[:-1])), where[-1])
    assert callable(getattr(holder, attribute))
