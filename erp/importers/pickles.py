"""A pandas frame out of a pickle, without running what the pickle says.

A pickle is a program: it names functions, and they are called. Here the few names that pandas and numpy write a frame
with stand for records of what was asked of them, and nothing of either library is called until what came together is
known to be a frame; every other name is refused.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.errors import ErpError, visible


class _Fixed(type):
    """Of classes that a pickle cannot change."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError("it changes what it names")


class _Asked(metaclass=_Fixed):
    """What a pickle calls a name with, and the state that it gives to what comes of that."""

    __slots__ = ("arguments", "state")
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Any:
        made = object.__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Bytes(_Asked):
    """How protocols before 3 write bytes."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes as {encoding}")
        return text.encode("latin1")


class _Bare(_Asked):
    """How protocols before 2 make an object."""

    __slots__ = ()

    def __new__(cls, made: type[_Asked], *_: Any) -> Any:
        if not issubclass(made, _Asked):
            raise pickle.UnpicklingError("it makes an object of no frame")
        return made()


_CORE = ("numpy.core", "numpy._core")  # before numpy 2, and since
_PLACES: dict[str, tuple[str, ...]] = {  # what a thing is here -> what pickles call it
    "dtype": ("numpy.dtype",),
    "array": tuple(f"{core}.multiarray._reconstruct" for core in _CORE),
    "scalar": tuple(f"{core}.multiarray.scalar" for core in _CORE),
    "buffer": tuple(f"{core}.numeric._frombuffer" for core in _CORE),
    "frame": ("pandas.DataFrame", "pandas.core.frame.DataFrame"),
    "manager": ("pandas.core.internals.managers.BlockManager",),
    "block": ("pandas._libs.internals._unpickle_block",),
    "labels": ("pandas.core.indexes.base._new_Index",),
    "class": (  # that is named, and never made
        *("builtins.object", "__builtin__.object", "numpy.ndarray"),
        *(
            "pandas.Index",
            "pandas.core.indexes.base.Index",
            "pandas.RangeIndex",
            "pandas.core.indexes.range.RangeIndex",
        ),
        *(f"pandas.core.indexes.numeric.{kind}Index" for kind in ("Int64", "UInt64", "Float64")),  # before pandas 2
    ),
}
_KNOWN: dict[str, type] = {
    **dict.fromkeys(("builtins.slice", "__builtin__.slice"), slice),
    **dict.fromkeys(("builtins.bytearray", "__builtin__.bytearray"), bytearray),
    **dict.fromkeys(("copyreg._reconstructor", "copy_reg._reconstructor"), _Bare),
    "_codecs.encode": _Bytes,
}
for _kind, _places in _PLACES.items():
    _KNOWN |= dict.fromkeys(_places, _Fixed(_kind, (_Asked,), {"__slots__": ()}))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (made := _KNOWN.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a plain frame has no need of")
        return made


def unpickled(named: str, stream: BinaryIO) -> pd.DataFrame:
    """The frame of a pickle: columns of objects, named by texts, and rows by their number.

    Args:
        named: how errors call the file.
        stream: its bytes. They are read whole.

    Raises:
        ErpError: the pickle names anything but what a frame of numbers and Python's own values is made of; or it is
            broken, or holds something else.
    """
    try:
        return pd.DataFrame(dict(_columns(_Unpickler(stream).load())), dtype=object)
    except Exception as error:  # bytes of anybody: whatever they break
        raise ErpError(
            f"{named}: is no pickle that can be read safely ({visible(error)}); give a pickled pandas frame of numbers "
            "and texts (its columns, and their names, as objects), or the table as csv or parquet"
        ) from error


def _columns(frame: object) -> Iterator[tuple[str, NDArray[np.object_]]]:
    blocks, axes = _of(_of(frame, "frame").state["_mgr"], "manager").arguments
    parts = [_of(block, "block").arguments[:2] for block in blocks]
    names = _labels(axes[0])
    found: dict[int, NDArray[np.object_]] = {}
    for values, places in parts:
        rows = _array(values)
        where = range(len(names))[places] if isinstance(places, slice) else _array(places).tolist()
        found |= zip(where, rows, strict=True)
    told = [str(_value(name)) for name in names]
    if sorted(found) != list(range(len(told))) or len(set(told)) < len(told):
        raise ValueError("its columns do not fit together")
    for at, name in enumerate(told):
        column = np.empty(len(found[at]), dtype=object)
        column[:] = [_value(value) for value in found[at].tolist()]
        yield name, column


def _labels(index: object) -> Sequence[Any]:
    _, about = _of(index, "labels").arguments
    if "data" in about:
        return list(_array(about["data"]).tolist())
    return range(about["start"], about["stop"], about["step"])


def _array(asked: object) -> NDArray[Any]:
    if _is(asked, "buffer"):
        data, kind, shape, order = asked.arguments
        return np.frombuffer(data, _dtype(kind)).reshape(shape, order="F" if order == "F" else "C")
    *_, shape, kind, by_column, data = _of(asked, "array").state
    if (dtype := _dtype(kind)).hasobject:
        values = np.empty(len(data), dtype=object)
        for at, value in enumerate(data):  # not at once: numpy would take lists among them for a dimension
            values[at] = value
    else:
        values = np.frombuffer(data, dtype)
    if math.prod(shape) != len(values):
        raise ValueError("an array is not whole")
    return values.reshape(shape, order="F" if by_column else "C")


def _dtype(asked: object) -> np.dtype[Any]:
    kind = _of(asked, "dtype")
    code, order = kind.arguments[0], kind.state[1] if kind.state else "="
    if code in ("O8", "O4", "O"):
        return np.dtype(object)
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|U\d{1,6}", code):
        raise ValueError(f"it holds values of the kind {code}")
    dtype: np.dtype[Any] = np.dtype(code).newbyteorder(order if order in "<>=" else "=")
    return dtype


def _value(value: object) -> Any:
    """A cell as Python's own value."""
    if _is(value, "scalar"):
        kind, data = value.arguments
        return np.frombuffer(data, _dtype(kind))[0].item()
    if _is(value, "array") or _is(value, "buffer"):
        return [_value(item) for item in _array(value).tolist()]
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"it holds a {type(value).__name__}")


def _is(asked: Any, kind: str) -> TypeGuard[_Asked]:
    return isinstance(asked, _Asked) and type(asked).__name__ == kind


def _of(asked: Any, kind: str) -> _Asked:
    if not _is(asked, kind):
        raise TypeError(f"where a {kind} belongs it holds a {type(asked).__name__}")
    return asked
