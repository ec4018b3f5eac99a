"""The one error a user is meant to read."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What moves a terminal's cursor or colours, and what turns the direction of writing: a name has no use for them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class ErpError(Exception):
    """Something in the user's input is wrong: one line per fault, no traceback, exit code 2.

    Each line says what is wrong (key = value), what is allowed, and what to do.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = faults

    def __reduce__(self) -> tuple[type[ErpError], tuple[str, ...]]:  # survives a process pool
        return type(self), self.faults

    @classmethod
    def all_of(cls, errors: Iterable[ErpError]) -> ErpError:
        """Several errors as one, faults in order, repeats dropped."""
        return cls(*dict.fromkeys(fault for error in errors for fault in error.faults))


def visible(text: object) -> str:
    r"""A text from anywhere as one line that a terminal only shows: line breaks are spaces, control codes \ufffd."""
    return _CONTROL.sub("\ufffd", re.sub(r"[^\S ]+", " ", str(text)))


def one_line(text: object) -> str:
    """The same for a name, whose spaces have no meaning: no two in a row, none at an end."""
    return " ".join(visible(text).split())


def said_by(error: Exception) -> str:
    """An error of somebody else's: its class, and the first line of what it says that has anything in it."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"


def shorten(values: Iterable[object], limit: int = 8) -> str:
    """Join values for an error line, cut after ``limit`` with the number left out."""
    items = [str(v) for v in values]
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... ({len(items) - limit} more)"


def shortened(name: str, length: int) -> str:
    """A name cut in its middle, because families share their beginning and sizes stand at the end."""
    name = one_line(name)
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"
