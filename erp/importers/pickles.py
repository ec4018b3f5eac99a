"""A pandas frame out of a pickle, without running what the pickle says.

A pickle is a program: it names functions, and they are called. Here it may name those alone that pandas and numpy put a
frame together with, one by one: allowing a whole module would not do, as both have functions that run a text.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from erp.errors import ErpError, visible

_INDEX = "pandas.core.indexes.base"
# what a pickle may name -> where that is today
_ALLOWED: dict[str, tuple[str, str]] = {
    **{
        f"{module}.{name}": ("builtins", name)
        for module in ("builtins", "__builtin__")
        for name in ("slice", "bytearray")
    },
    **{f"numpy.{name}": ("numpy", name) for name in ("dtype", "ndarray")},
    **{
        f"numpy.{core}.{module}.{name}": (f"numpy._core.{module}", name)
        for core in ("core", "_core")  # before numpy 2, and since
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
    **{f"pandas.{name}": ("pandas", name) for name in ("DataFrame", "Index", "RangeIndex")},
    "pandas.core.frame.DataFrame": ("pandas", "DataFrame"),
    "pandas.core.indexes.range.RangeIndex": ("pandas", "RangeIndex"),
    **{f"{_INDEX}.{name}": (_INDEX, name) for name in ("Index", "_new_Index")},
    # before pandas 2
    **{f"pandas.core.indexes.numeric.{kind}Index": (_INDEX, "Index") for kind in ("Int64", "UInt64", "Float64")},
    "pandas.core.internals.managers.BlockManager": ("pandas.core.internals.managers", "BlockManager"),
    "pandas._libs.internals._unpickle_block": ("pandas._libs.internals", "_unpickle_block"),
}


class _Frames(pickle.Unpickler):
    """Opens no other name than those of a frame."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for. Raises UnpicklingError: it may not be named."""
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        if (place := _ALLOWED.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a plain frame has no need of")
        return super().find_class(*place)


def unpickled(named: str, stream: BinaryIO) -> pd.DataFrame:
    """The frame of a pickle, its values as they were pickled.

    Args:
        named: how errors call the file.
        stream: its bytes. They are read whole.

    Returns:
        Columns of objects, named by texts.

    Raises:
        ErpError: the pickle names anything but what numbers and objects in a frame are made of, which is not called; or
            it is broken, or holds something else.
    """
    try:
        return _plain(_Frames(stream).load())
    except Exception as error:  # bytes of anybody: whatever they break, in whichever library
        raise ErpError(
            f"{named}: is no pickle that can be read safely ({visible(error)}); give a pickled pandas frame of numbers "
            "and texts (its columns as objects), or the table as csv or parquet"
        ) from error


def _plain(frame: object) -> pd.DataFrame:
    if not isinstance(frame, pd.DataFrame):
        raise pickle.UnpicklingError(f"it holds a {type(frame).__name__}")
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise pickle.UnpicklingError("it has two columns of one name")
    columns = (np.asarray(frame.iloc[:, at], dtype=object) for at in range(len(names)))
    return pd.DataFrame(dict(zip(names, columns, strict=True)), dtype=object)


def _bytes(text: str, encoding: str) -> bytes:
    """How protocols before 3 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding}")
    return text.encode("latin1")
