"""A prompt that is longer than a backbone's window: its head, its tail, or all of it in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.files import read_json

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Long = Literal["head", "tail", "mean"]
Ints = NDArray[np.int64]
_TORN = "\ufffd"  # what a part of a character's bytes reads as
_BYTES = 4  # of a character, at most


def long_of(node: Mapping[str, Any]) -> str:
    """What a backbone's node says is read of a long prompt; of a joined one that does not say, its first part's."""
    return str(next((one["long"] for one in (node, *node.get("parts", [])) if one.get("long")), "head"))


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is read of n prompts: of each one piece or more, one prompt after the other.

    Attributes:
        texts: of C pieces.
        tokens: (C,) of each.
        owner: (C,) the prompt that it is of, by position.
    """

    texts: list[str]
    tokens: Ints
    owner: Ints

    @classmethod
    def of(cls, pieces: Sequence[Sequence[tuple[str, int]]]) -> Pieces:
        """From the pieces of each prompt, texts with their tokens."""
        owner = np.repeat(np.arange(len(pieces)), [len(of_one) for of_one in pieces])
        flat = [piece for of_one in pieces for piece in of_one]
        return cls([text for text, _ in flat], np.array([size for _, size in flat], dtype=np.int64), owner)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each piece's weight in its prompt's vector, (C,): its share of the tokens that are read."""
        return np.asarray(self.tokens / np.bincount(self.owner, weights=self.tokens)[self.owner])

    @property
    def single(self) -> bool:
        """Whether every prompt is one piece: vectors of pieces are those of prompts."""
        return len(self.texts) == (self.owner[-1] + 1 if len(self.owner) else 0)

    def joined(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors of prompts (n, d) from those of pieces (C, d): means over their tokens."""
        if self.single:
            return vectors
        starts = np.flatnonzero(np.diff(self.owner, prepend=-1))
        return np.asarray(np.add.reduceat(vectors * self.shares[:, None], starts, axis=0), dtype=np.float32)


def whole(texts: Sequence[str]) -> Pieces:
    """Every text as it is; an encoder cuts it by itself."""
    return Pieces(list(texts), np.ones(len(texts), dtype=np.int64), np.arange(len(texts)))


class Window:
    """What an encoder reads of a text at once.

    Args:
        tokenizer: the encoder's; a copy is taken, which neither cuts nor pads.
        size: tokens it reads, the special ones and the prefix included.
        prefix: put before every piece.
        special: whether special tokens count.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, prefix: str = "", special: bool = True) -> None:
        from tokenizers import Tokenizer

        self.size, self.prefix, self.special = size, prefix, special
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._around = len(self._tokenizer.encode(prefix, add_special_tokens=special).ids)

    def sizes(self, texts: Sequence[str]) -> Ints:
        """Tokens of each text, with the special ones and the prefix, (n,)."""
        prefixed = [self.prefix + text for text in texts]
        encoded = self._tokenizer.encode_batch_fast(prefixed, add_special_tokens=self.special)
        return np.array([len(one.ids) for one in encoded], dtype=np.int64)

    def unread(self, texts: Sequence[str]) -> Ints:
        """Tokens of each text that do not fit, (n,)."""
        return np.maximum(self.sizes(texts) - self.size, 0)

    def read(self, texts: Sequence[str], long: Long) -> list[tuple[int, ...]]:
        """The token ids that each text's vector is made of."""
        ids = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False) if texts else []
        room = max(self.size - self._around, 0)
        ends = {"head": slice(room), "tail": slice(-room, None) if room else slice(0), "mean": slice(None)}
        return [tuple(one.ids[ends[long]]) for one in ids]

    def pieces(self, texts: Sequence[str], long: Literal["tail", "mean"]) -> Pieces:
        """What is read of each text, every piece with the prefix before it and short enough to be read whole.

        Raises:
            ErpError: the prefix takes all of the window.
        """
        found: list[list[tuple[str, int]]] = []
        for text, size in zip(texts, self.sizes(texts), strict=True):
            parts = [text] if size <= self.size else self._parts(text, long)
            sizes = [size] if len(parts) == 1 and parts[0] == text else self.sizes(parts)
            found.append([(self.prefix + part, max(int(n) - self._around, 1))
                          for part, n in zip(parts, sizes, strict=True)])  # fmt: skip
        return Pieces.of(found)

    def _parts(self, text: str, long: Long) -> list[str]:
        """The tail of a text, or all of it in as few parts of like size as fit."""
        room = self.size - self._around
        if room < 1:
            raise ErpError(
                f"backbone.long = {long}: a window of {self.size} tokens has no room beside the prefix; give a larger "
                f"max_tokens, or long=head"
            )
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        tokens = len(encoded.ids)
        # A part read by itself may have a token more than it had within the text, so that it may take another try.
        for more in range(tokens):
            if long == "tail":
                parts = [text[encoded.offsets[min(tokens - room + more, tokens - 1)][0] :]]
            else:
                parts = _cut(text, encoded, -(-tokens // room) + more)
            if (self.sizes(parts) <= self.size).all():
                return parts
        return parts  # single characters of many tokens: the encoder cuts them


def window_of(folder: Path, max_tokens: int | None, prefix: str, special: bool = True) -> Window:
    """The window of an encoder that lies in a folder, out of its small files. Raises ErpError where they do not say."""
    from tokenizers import Tokenizer

    size = max_tokens
    names = {"sentence_bert_config.json": "max_seq_length", "tokenizer_config.json": "model_max_length",
             "config.json": "max_position_embeddings"}  # fmt: skip
    said = [read_json(folder / name).get(key) for name, key in names.items() if (folder / name).exists()]
    if size is None:
        # Its own word first; else the smallest of what its parts can hold. Tokenizers say 10^30 for "no limit".
        own = said[:1] if (folder / "sentence_bert_config.json").exists() and said[0] else said
        size = min((number for number in own if isinstance(number, int) and number < 10**9), default=None)
    if size is None or not (folder / "tokenizer.json").exists():
        raise ErpError(f"{folder}: does not say without being loaded how many tokens it reads")
    return Window(Tokenizer.from_file(str(folder / "tokenizer.json")), size, prefix, special)


def _cut(text: str, encoded: Encoding, parts: int) -> list[str]:
    """A text in parts of like numbers of tokens, between words where there are any; together they are the text."""
    words, tokens = encoded.word_ids, len(encoded.ids)
    cuts = [0]
    for part in range(1, parts):
        wanted = at = part * tokens // parts
        while at > 0 and words[at] == words[at - 1] and encoded.offsets[at][0] > cuts[-1]:
            at -= 1
        start = encoded.offsets[at][0]
        cuts.append(start if start > cuts[-1] else encoded.offsets[min(wanted, tokens - 1)][0])
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True) if end > start]


def kept_texts(
    text: str, ids: Sequence[int], size: int, long: Long, decode: Callable[[Sequence[int]], str]
) -> list[tuple[str, int]]:
    """What a causal LM reads of a text, with the number of tokens of each piece, where it reads ``size`` at once.

    Args:
        text: the prompt.
        ids: its tokens, without special ones.
        size: how many are read at once.
        long: which.
        decode: from tokens to text. A cut may go through a character of several tokens: none is torn, but for the
            last of a head and the first of a tail, which are left out.
    """
    if len(ids) <= size:
        return [(text, max(len(ids), 1))]
    if long == "head":
        return [(decode(ids[:size]).rstrip(_TORN), size)]
    if long == "tail":
        return [(decode(ids[-size:]).lstrip(_TORN), size)]
    found, start = [], 0
    parts = -(-len(ids) // size)
    while start < len(ids):
        wanted = end = min(start + size, start + -(-(len(ids) - start) // max(parts, 1)))
        while wanted - end < _BYTES and end - start > 1 and end < len(ids) and decode(ids[start:end]).endswith(_TORN):
            end -= 1
        if end < len(ids) and decode(ids[start:end]).endswith(_TORN):
            end = wanted  # the prompt's own mark
        found.append((decode(ids[start:end]), end - start))
        start, parts = end, parts - 1
    return found
