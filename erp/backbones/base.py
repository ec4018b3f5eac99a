"""What a backbone is: prompts in, vectors out, independent of pool and reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from erp.build import build

if TYPE_CHECKING:
    from erp.backbones.encoder import Encoder
    from erp.backbones.windows import Long, Window


class Backbone:
    """Base of all backbones. Construction is cheap; weights are loaded at the first ``embed``.

    Attributes:
        kept: the numbers in which embeddings lie on disk.
        at_once: prompts embedded between two writes: what a killed process loses at most.
        unit_length: whether vectors are kept normalised, as routers read them; False for what is no embedding yet.
    """

    kept: ClassVar[Literal["float32", "float16"]] = "float32"
    at_once: ClassVar[int] = 512
    unit_length: ClassVar[bool] = True
    active_parameters: float | None = None

    def kind(self) -> str:
        """The class by its full name, for fingerprints: a subclass embeds otherwise, and must not share a cache."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def fingerprint(self) -> str:
        """A text that names everything an embedding depends on; embeddings are cached under its hash."""
        raise NotImplementedError(f"{type(self).__name__} defines no fingerprint")

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of the prompts, (n, d) float32; the caller normalises them."""
        raise NotImplementedError(f"{type(self).__name__} defines no embed")

    def window(self) -> int | None:
        """How many tokens of a prompt are read at once; None where all are, however many."""
        return None

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """How many tokens of each prompt are in no vector, (n,)."""
        return np.zeros(len(prompts), dtype=np.int64)

    def parameters_per_token(self) -> float | None:
        """Parameters used for each token of a prompt, as often as it is read; None where nobody said."""
        return self.active_parameters

    def blocks(self) -> dict[str, int]:
        """How many numbers of a vector belong together, by name and in order; one block as a rule.

        One that learns can tell once it has; any other may embed a text for it.
        """
        return {type(self).__module__.rpartition(".")[2]: self.embed(["a"]).shape[1]}

    def layout(self) -> str:
        """How vectors are divided into blocks, where that is chosen and changes none of them; else empty."""
        return ""

    def recipe(self) -> str | None:
        """Of a backbone that learns: a text that names all that ``fit`` depends on beside the prompts.

        What was learnt is then kept for other runs; None: every run learns anew.
        """
        return None


@runtime_checkable
class Weighted(Protocol):
    """A backbone whose weights are found by name: in a folder, an installed package, or on the hub."""

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""


@runtime_checkable
class Keeping(Protocol):
    """A backbone that keeps on disk what its vectors are made of."""

    def keep_in(self, cache: Path) -> None:
        """Say where: the folder of all that is cached."""


@runtime_checkable
class Windowed(Protocol):
    """A backbone that reads a number of tokens at once.

    Attributes:
        long: what is read of a prompt with more.
    """

    long: Long

    def reader_on_disk(self) -> Window | None:
        """Tokenizer and window, without loading the model; None where it has no window.

        Raises:
            ErpError: it is not on this machine, or its small files do not tell.
        """


@runtime_checkable
class FittedBackbone(Protocol):
    """A backbone that learns from the train prompts, and from nothing else, before it embeds.

    Its fingerprint names what was learnt, so that no two splits share a cache. Until ``fit`` or ``restore`` was called
    there is none to give, and ``fingerprint`` and ``embed`` raise ErpError.
    """

    def fit(self, prompts: Sequence[str]) -> None:
        """Learn from the train prompts; their order does not matter."""

    def state(self) -> dict[str, Any]:
        """What was learnt, in tensors and plain values: it goes into the checkpoint, where nothing else is read."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave. Raises ErpError where it is not of this backbone."""

    def recipe(self) -> str | None:
        """Of `Backbone`."""


@runtime_checkable
class Trainable(Protocol):
    """A backbone whose encoder can be trained along with a router that has a loss.

    Attributes:
        finetune: whether it is to be.
    """

    finetune: bool

    def encoder(self) -> Encoder:
        """The encoder. From now on ``embed`` and ``fingerprint`` follow its weights, whoever trains or loads them."""


def trains(backbone: object) -> bool:
    """Whether the backbone is trained along with the router, or stays as it was released."""
    return isinstance(backbone, Trainable) and backbone.finetune


def build_backbone(node: dict[str, Any], weights_dir: str | None, trust: bool = True) -> Backbone:
    """A backbone that knows where weights lie."""
    backbone = build(node, Backbone, key="backbone", trust=trust)
    if isinstance(backbone, Weighted):
        backbone.look_in(weights_dir)
    return backbone


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised rows; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def plain_text(prompt: str) -> str:
    """The prompt as a tokenizer can read it: a lone surrogate (half an emoji, as JSON may carry it) reads ? instead."""
    return prompt.encode("utf-8", "replace").decode("utf-8")
