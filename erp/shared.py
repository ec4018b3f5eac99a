"""What the jobs of a sweep share within one process: the last few results of what is slow, by what they were made from.

Outside a sweep nothing is kept. What is kept is shared: nobody writes into it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 4  # results kept of a kind: memory does not grow with the number of jobs

_kept: dict[str, OrderedDict[Hashable, tuple[Any, Any]]] | None = None


def begin() -> None:
    """From here on results are kept, in this process."""
    global _kept
    _kept = {} if _kept is None else _kept


def end() -> None:
    """Let go of all that was kept, and keep no more."""
    global _kept
    _kept = None


def shared(what: str, make: Callable[[], T], *source: object, most: int = MOST) -> T:
    """What ``make`` makes, or made before from the same source.

    Args:
        what: the kind of result; of each kind the last ``most`` are kept.
        make: makes it.
        source: all that the result depends on: texts and numbers by value, a table, a frame or an array by being the
            very same object.
        most: how many are kept.
    """
    if _kept is None:
        return make()
    kind = _kept.setdefault(what, OrderedDict())
    key = tuple(part if isinstance(part, str | float | int | None) else (type(part), id(part)) for part in source)
    if key in kind:
        kind.move_to_end(key)
    else:
        kind[key] = (make(), source)  # the source too: while it lives, no other object has its id
        while len(kind) > most:
            kind.popitem(last=False)
    made: T = kind[key][0]
    return made
