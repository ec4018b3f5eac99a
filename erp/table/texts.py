"""What makes two prompts one text, and the hashes that texts are known by."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def normalise(prompt: str) -> str:
    """Text with compatibility forms, white space and the ends folded; letters keep their case."""
    return " ".join(unicodedata.normalize("NFKC", prompt).split())


def folded(prompt: str) -> str:
    """The normalised text, case folded too: prompts of one folded text are kept together, and are not one prompt."""
    return normalise(prompt).casefold()


def exact(prompt: str) -> str:
    """The very text: composed Unicode (NFC) and plain line ends, which no reader can see the difference of."""
    return unicodedata.normalize("NFC", prompt).replace("\r\n", "\n").replace("\r", "\n")


def text_id(prompt: str) -> str:
    """An id made from the very text, 16 hexadecimal digits: two ids for two texts, indentation and all."""
    return text_hash(exact(prompt))[:16]


def text_hash(text: str) -> str:
    """First 32 hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_key(prompt: str) -> str:
    """Hash of the folded text."""
    return text_hash(folded(prompt))


def text_keys(prompts: Iterable[str]) -> NDArray[np.object_]:
    """`text_key` of every prompt (N,)."""
    return np.array([text_key(prompt) for prompt in prompts], dtype=object)
