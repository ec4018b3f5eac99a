"""Values from outside, a file's or a server's, as ours: the one place that says what a number there means."""

from __future__ import annotations

import math

import numpy as np

CHARACTERS_PER_TOKEN = 4  # the usual rule of thumb for English; whoever uses it says "estimated"
_EXACT = 2.0**53  # from here on a float is no longer every integer
_WORDS = {"true": 1.0, "false": 0.0}


def whole_number(value: object) -> int | None:
    """The value as an exact integer: 12, 12.0, "12", "12.0". None where it is none.

    No true or false, nothing with a fraction, and no float so large that its last digits are lost.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value) if "_" not in value else None
        except ValueError:
            value = _float(value)
    if not isinstance(value, float | np.floating):
        return None
    number = float(value)
    return int(number) if abs(number) < _EXACT and number.is_integer() else None


def token_count(value: object, text: str) -> int | None:
    """A count of tokens beside the text that it counts; None where it is unknown.

    Unknown is what is no whole number, what is negative (-1 is how some say "unknown"), what no text could have, and 0
    beside a text.
    """
    count = whole_number(value)
    return None if count is None or not 0 <= count < _EXACT or (count == 0 and text != "") else count


def estimated_tokens(text: str) -> int:
    """Tokens of a text by its length, where nobody counted them."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def truth_as_number(value: object) -> object:
    """True and false in letters, as a csv has them, as 1 and 0; anything else as it is."""
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
