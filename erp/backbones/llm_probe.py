"""What a causal LM makes of a prompt before it answers: states of all layers, likelihood, first token, P(IK)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from erp.backbones.base import Backbone, plain_text
from erp.backbones.cache import Embeddings, cached_embeddings
from erp.backbones.causal_lm_probe import QUESTION, SURFACE, CausalLMProbe
from erp.backbones.layer_pca import LayerPCA
from erp.backbones.llm_hidden import LLMHiddenBackbone
from erp.backbones.windows import Long, Pieces, kept_texts
from erp.errors import ErpError
from erp.weights import find_file

Block = Literal["states", "likelihood", "first_token", "knows"]
Float32s = NDArray[np.float32]

BLOCKS: tuple[Block, ...] = ("states", "likelihood", "first_token", "knows")
_VERSION = 1  # raise it with any change of how is learnt: what was kept would be of the old way
_MOST = 5.0  # standard deviations of a number that is no state


class LLMProbeBackbone(LLMHiddenBackbone):
    """Blocks of what a causal LM, read in its chat template, holds of a prompt when its answer is about to begin.

    ``states``: mean hidden states of the embeddings and of every layer, each on its leading principal components, as a
    router from prefill activations has them (2603.20895). ``likelihood``: of the prompt's tokens the mean negative
    log-likelihood, and the log of their sum. ``first_token``: entropy of the answer's first token, and the mass of the
    likeliest and of the 10 likeliest. ``knows``: log-odds of Yes against No to "could you answer this correctly?"
    (P(IK), 2207.05221), for which the prompt is read a second time, the question behind it.

    Components, means and scales are learnt from the train prompts. Each block has the same variance there; a constant
    in the last block keeps lengths, as vectors are normalised afterwards. What the model gave lies in the cache by
    itself, all layers: whatever the split, the blocks and the components, a prompt is read once.

    Args:
        model: hub id, or a folder, of an instruct model: a member of the pool, or any other.
        blocks: which of them, in this order.
        components: of each layer; fewer where the train prompts span fewer.
        layers: ``apart``: each layer is a block of its own to a router that reads blocks, which so chooses layers by
            validation (2603.20895 does it by how well one separates right answers from wrong ones); None: they are one
            block. The vectors are the same.
        max_tokens: of the prompt that are read at once, the template not counted.
        batch_size: prompts in one forward pass. It changes no vector, up to floating point.
        file: weight file within the model; transformers unpacks a .gguf one, which takes up to a minute.
        sha256: of that file, or of ``model.safetensors``; checked where given.
        revision: of the hub's repository.
        dtype: of the weights in transformers, of an unpacked .gguf file's too. With 16 bits what is read of a prompt
            depends a little on its batch.
        device: ``auto`` is CUDA where there is one.
        active_parameters: of the model: routing a prompt costs 2 FLOPs for each, token and pass.
        long: what is read of a prompt with more tokens: ``head``, ``tail``, or in pieces that are averaged (``mean``).
    """

    unpacks_gguf = True

    def __init__(
        self,
        model: str,
        blocks: list[Block] = ["states", "likelihood", "first_token", "knows"],  # noqa: B006  # a config shows it
        components: int = 16,
        max_tokens: int = 512,
        batch_size: int = 8,
        file: str | None = None,
        sha256: str | None = None,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        active_parameters: float | None = None,
        long: Long = "head",
        layers: Literal["apart"] | None = None,
    ) -> None:
        super().__init__(
            model, max_tokens=max_tokens, batch_size=batch_size, template="chat", file=file, sha256=sha256,
            revision=revision, dtype=dtype, device=device, active_parameters=active_parameters, long=long,
        )  # fmt: skip
        if not blocks or len(set(blocks)) < len(blocks):
            raise ErpError(f"backbone.blocks = {list(blocks)}: give one or more of {', '.join(BLOCKS)}, each once")
        if components < 1:
            raise ErpError(f"backbone.components = {components}: give 1 or more")
        self.wanted: list[Block] = [block for block in BLOCKS if block in blocks]
        self.components = components
        self.layers = layers
        self._reading = _Pass(self, "reading", lambda probe, texts: probe.embed(texts))
        self._asking = _Pass(self, "asking", lambda probe, texts: probe.knows(texts))
        self._learnt: _Learnt | None = None
        self._cache: Path | None = None

    def keep_in(self, cache: Path) -> None:
        """Where what the model gives of a prompt is kept."""
        self._cache = cache

    def fit(self, prompts: Sequence[str]) -> None:
        """Learn the components and scales. Reads every prompt that is not in the cache."""
        texts = sorted(prompts)  # sums in floating point then do not depend on the prompts' order
        states, numbers = self._read(texts, progress=True)
        pca = LayerPCA.of(states, self.components) if "states" in self.wanted else None
        center = {name: block.mean(axis=0) for name, block in numbers.items()}
        spread = {name: block.std(axis=0) for name, block in numbers.items()}
        self._learnt = _Learnt(pca, center, {name: np.where(s > 1e-6, s, 1.0) for name, s in spread.items()})

    def recipe(self) -> str:
        """What is read, the blocks, and the versions of what computes."""
        versions = " ".join(f"{name}={version(name)}" for name in ("numpy", "scipy", "torch", "transformers"))
        return f"{self._reading.fingerprint()} {self.wanted} components={self.components} {_VERSION} {versions}"

    def state(self) -> dict[str, Any]:
        """Components, means and scales, as tensors."""
        return self._fitted().state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave. Raises ErpError where it is not of this backbone."""
        try:
            learnt = _Learnt.restored(state)
        except (KeyError, AttributeError, TypeError, ValueError):
            raise ErpError("backbone = llm_probe: the saved state is not of this backbone; train again") from None
        if ("states" in self.wanted, sorted(learnt.center)) != (
            learnt.pca is not None, sorted(name for name in self.wanted if name != "states"),
        ):  # fmt: skip
            raise ErpError("backbone.blocks: are not those of the saved state; train the run again")
        self._learnt = learnt

    def fingerprint(self) -> str:
        """What is read, the blocks, and the hash of what the train prompts taught."""
        return f"{self._reading.fingerprint()} {self.wanted} learnt={self._fitted().hash()}"

    def blocks(self) -> dict[str, int]:
        """Numbers of each block, in order; the constant is the last one's."""
        found: dict[str, int] = {}
        for name in self.wanted:
            found |= self._layers() if name == "states" else {name: _WIDTHS[name]}
        return found | {name: found[name] + 1 for name in list(found)[-1:]}

    def layout(self) -> str:
        """Whether layers are blocks of their own."""
        return "" if self.layers is None else f"layers={self.layers}"

    def _layers(self) -> dict[str, int]:
        """Numbers of the states' block, or of each layer's; the embeddings are layer 0."""
        pca = self._fitted().pca
        layers, kept = (0, 0) if pca is None else pca.components.shape[:2]
        if self.layers is None:
            return {"states": layers * kept}
        return {f"layer {layer}": kept for layer in range(layers)}

    def embed(self, prompts: Sequence[str]) -> Float32s:
        """The blocks side by side, and a constant, (n, d)."""
        learnt = self._fitted()
        if not prompts:
            return np.zeros((0, sum(self.blocks().values())), dtype=np.float32)
        states, numbers = self._read(prompts)
        found = []
        for name in self.wanted:
            if name == "states" and learnt.pca is not None:
                found.append(learnt.pca(states))
            else:
                scaled = np.clip((numbers[name] - learnt.center[name]) / learnt.spread[name], -_MOST, _MOST)
                found.append(scaled / np.sqrt(scaled.shape[1]))
        scaled = np.hstack(found) / np.sqrt(len(self.wanted))
        return np.hstack([scaled, np.ones((len(prompts), 1))]).astype(np.float32)

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each prompt that are cut off, (n,)."""
        if self._cache is None:
            return super().unread(prompts)
        return cached_embeddings(prompts, self._passes[0], self._cache, progress=False).unread

    def parameters_per_token(self) -> float | None:
        """Parameters used for a prompt's token: those of the model, once for every pass."""
        return None if self.active_parameters is None else len(self._passes) * self.active_parameters

    def readings(self, prompts: Sequence[str]) -> tuple[Float32s, dict[str, Float32s]]:
        """What the model gave, before anything is learnt of it.

        Returns:
            mean states (n, layers + 1, d), and of the other blocks their numbers, (n, width) each.
        """
        return self._read(prompts)

    @property
    def _passes(self) -> list[_Pass]:
        """Those that the blocks need."""
        first, second = self.wanted != ["knows"], "knows" in self.wanted
        return [self._reading] * first + [self._asking] * second

    def _read(self, prompts: Sequence[str], progress: bool = False) -> tuple[Float32s, dict[str, Float32s]]:
        """As ``readings``, from the cache where there is one."""
        rows = {one.name: _rows(one, prompts, self._cache, progress) for one in self._passes}
        numbers: dict[str, Float32s] = {}
        states = np.zeros((len(prompts), 1, 0), dtype=np.float32)
        if (read := rows.get("reading")) is not None:
            layers = int(read[0, 0]) if len(read) else 1
            states = read[:, 1:-SURFACE].reshape(len(read), layers, (read.shape[1] - 1 - SURFACE) // layers)
            tokens, likelihood, *others = read[:, -SURFACE:].T
            numbers["likelihood"] = np.stack([likelihood, np.log1p(likelihood * tokens)], axis=1)
            numbers["first_token"] = np.stack(others, axis=1)
        if "asking" in rows:
            numbers["knows"] = rows["asking"]
        return states, {name: block for name, block in numbers.items() if name in self.wanted}

    def _fitted(self) -> _Learnt:
        if self._learnt is None:
            raise ErpError("backbone = llm_probe: has not seen the train prompts yet; call fit, or restore a state")
        return self._learnt

    def _load(self) -> CausalLMProbe:
        from erp.backbones.causal_lm_states import loaded, on_device, room_for

        device = on_device(self.device)
        if self.gguf:
            path = find_file(self.weights, self._weights_dir)
            model, tokenizer = loaded(path.parent, self.weights.model, self.dtype, device, gguf_file=path.name)
        else:
            model, tokenizer = loaded(self._folder(), self.weights.model, self.dtype, device)
        room_for(self.max_tokens, model.config.get_text_config(), self.weights.model)
        return CausalLMProbe(model, tokenizer, self.weights.model, self.batch_size)


_WIDTHS = {"likelihood": 2, "first_token": 3, "knows": 1}


class _Pass(Backbone):
    """One of the two passes over a prompt, its numbers as they are."""

    at_once = 64  # a killed process loses a minute, not ten
    unit_length = False

    def __init__(
        self, probe: LLMProbeBackbone, name: str, read: Callable[[CausalLMProbe, list[str]], Float32s]
    ) -> None:
        self.probe, self.name, self._read = probe, name, read

    def fingerprint(self) -> str:
        asked = f" {QUESTION!r}" if self.name == "asking" else ""
        return f"{self.kind()} {self.name}{asked} {LLMHiddenBackbone.fingerprint(self.probe)}"

    def embed(self, prompts: Sequence[str]) -> Float32s:
        probe, pieces = self.probe._loaded(), []
        assert isinstance(probe, CausalLMProbe)
        for text in map(plain_text, prompts):
            pieces.append(kept_texts(text, probe.tokens(text), self.probe.max_tokens, self.probe.long, probe.text))
        read = Pieces.of(pieces)
        rows = self._read(probe, read.texts)
        found = read.joined(rows)
        if self.name == "reading" and not read.single:  # a prompt has the tokens of all its pieces, not of the mean one
            found[:, -SURFACE] = np.bincount(read.owner, weights=rows[:, -SURFACE], minlength=len(prompts))
        return found

    def window(self) -> int | None:
        return self.probe.window()

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        return LLMHiddenBackbone.unread(self.probe, prompts)


def _rows(one: _Pass, prompts: Sequence[str], cache: Path | None, progress: bool) -> Float32s:
    """What a pass gives of the prompts, (n, width); each is read once where there is a cache."""
    if cache is None:
        return one.embed(prompts)
    found: Embeddings = cached_embeddings(prompts, one, cache, progress)
    return found.take(np.arange(len(prompts)))


class _Learnt:
    """What the train prompts taught: components of the states, and of each other block its means and deviations."""

    def __init__(self, pca: LayerPCA | None, center: Mapping[str, Float32s], spread: Mapping[str, Float32s]) -> None:
        self.pca, self.center, self.spread = pca, dict(center), dict(spread)

    def state(self) -> dict[str, Any]:
        numbers = {name: torch.from_numpy(np.stack([self.center[name], self.spread[name]])) for name in self.center}
        return {"pca": None if self.pca is None else self.pca.state(), "numbers": numbers}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> _Learnt:
        numbers = {name: pair.numpy().astype(np.float32) for name, pair in state["numbers"].items()}
        if any(pair.shape != (2, _WIDTHS[name]) for name, pair in numbers.items()):
            raise ValueError("numbers of other blocks")
        pca = None if state["pca"] is None else LayerPCA.restored(state["pca"])
        center, spread = ({name: pair[at] for name, pair in numbers.items()} for at in (0, 1))
        return cls(pca, center, spread)

    def hash(self) -> str:
        arrays = [] if self.pca is None else [self.pca.means, self.pca.components]
        arrays += [one[name] for name in sorted(self.center) for one in (self.center, self.spread)]
        content = hashlib.sha256()
        for array in arrays:
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()
