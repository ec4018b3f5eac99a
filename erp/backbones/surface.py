"""What a prompt looks like, without reading it: lengths, shares of kinds of characters, counts of marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log1p

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone

MOST = 5.0  # a count is cut off this many scales from its centre: one odd prompt must not rule a linear head
_VERSION = 1  # raise it with any change of what is counted, or of a constant: cached rows would be of the old one
_CODE = frozenset("{}[]();<>_\\|=&#@`")
_MATHS = re.compile(r"[+*/^=<>±\u00d7÷√∑∏∫∞≈≠≤≥∂π∈∀∃→]|\\(?:frac|sqrt|sum|int|cdot|le|ge)\b")  # \u00d7: times
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)]|\(?[A-Za-z][.)])\s", re.MULTILINE)


@dataclass(frozen=True)
class _Count:
    """One number of a prompt, and what puts it on a common scale: (value - centre) / scale.

    The constants are round numbers for prompts of chats, not fitted to any table: a prompt's features then depend on
    the prompt alone.
    """

    name: str
    value: Callable[[str], float]
    centre: float
    scale: float


def _share(text: str, among: Callable[[str], bool]) -> float:
    return sum(map(among, text)) / len(text) if text else 0.0


def _uppercase_share(text: str) -> float:
    letters = [c for c in text if c.isalpha()]
    return sum(c.isupper() for c in letters) / len(letters) if letters else 0.0


def _mean_word_length(text: str) -> float:
    words = _WORD.findall(text)
    return sum(map(len, words)) / len(words) if words else 0.0


def _distinct_word_share(text: str) -> float:
    words = _WORD.findall(text.lower())
    return len(set(words)) / len(words) if words else 0.0


def _logged(pattern: re.Pattern[str]) -> Callable[[str], float]:
    return lambda text: log1p(len(pattern.findall(text)))


# log means log(1 + count), the natural one.
_COUNTS = (
    _Count("log_characters", lambda text: log1p(len(text)), 5.0, 1.5),
    _Count("log_words", _logged(_WORD), 3.5, 1.5),
    _Count("log_lines", lambda text: log1p(text.count("\n")), 1.0, 1.0),
    _Count("log_sentence_ends", _logged(_SENTENCE_END), 1.0, 0.7),
    _Count("log_numbers", _logged(_NUMBER), 0.7, 1.0),
    _Count("log_question_marks", lambda text: log1p(text.count("?")), 0.4, 0.4),
    _Count("log_code_fences", lambda text: log1p(text.count("```")), 0.1, 0.4),
    _Count("log_maths_symbols", _logged(_MATHS), 0.5, 1.0),
    _Count("log_list_items", _logged(_LIST_ITEM), 0.3, 0.8),
    _Count("digit_share", lambda text: _share(text, str.isdecimal), 0.03, 0.06),
    _Count("uppercase_share", _uppercase_share, 0.06, 0.1),
    _Count("code_mark_share", lambda text: _share(text, _CODE.__contains__), 0.02, 0.04),
    _Count("non_ascii_share", lambda text: _share(text, lambda c: not c.isascii()), 0.03, 0.15),
    _Count("mean_word_length", _mean_word_length, 4.5, 1.5),
    _Count("distinct_word_share", _distinct_word_share, 0.8, 0.2),
)
SURFACE = tuple(count.name for count in _COUNTS)


def surface_counts(prompt: str) -> dict[str, float]:
    """The numbers of a prompt as they are, before they are put on a common scale; keys as ``SURFACE``.

    Shares are of all characters, ``uppercase_share`` of the letters; an empty prompt has none of anything.
    """
    return {count.name: float(count.value(prompt)) for count in _COUNTS}


class SurfaceBackbone(Backbone):
    """Fifteen surface counts of a prompt on one scale, and a constant.

    The constant 1 stands last because rows are normalised to length one afterwards: with it the counts can still be
    told from their direction, and a long prompt is not a short one of the same proportions.
    """

    def fingerprint(self) -> str:
        """Class and version of the counts; they depend on nothing else."""
        return f"{self.kind()} version={_VERSION}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Standardised counts, within +-5, and the constant, (n, 16)."""
        rows = [[(count.value(prompt) - count.centre) / count.scale for count in _COUNTS] for prompt in prompts]
        counts = np.clip(np.array(rows, dtype=np.float32).reshape(len(prompts), len(_COUNTS)), -MOST, MOST)
        return np.hstack([counts, np.ones((len(prompts), 1), dtype=np.float32)])
