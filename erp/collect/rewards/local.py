"""What reward models that run here have in common: loading, fitting a text into the window, batches."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from erp.collect.rewards import window
from erp.collect.rewards.ahead import one_ahead
from erp.collect.rewards.base import AT_ONCE, Pair, RewardAdapter
from erp.collect.rewards.window import Fitted, Row
from erp.engines.base import Failure
from erp.errors import ErpError, said_by, shorten
from erp.files import whole_text
from erp.table.asked import Turn
from erp.weights import Weights, find_weights

if TYPE_CHECKING:
    import torch

TOKENIZER = ("*.json", "*.jinja", "*.model", "*.txt")  # of a model's repository
BROKEN = (ImportError, OSError, ValueError, KeyError, AttributeError, RuntimeError, AssertionError)  # in loading


class LocalRewardModel(RewardAdapter):
    """Base of reward models under ``transformers``: a subclass says how a pair is tokenised.

    One score per pair whatever it is batched with: rows are padded on the right, the attention mask hides the padding,
    and the token that fills it occurs in no row of the batch, so that models which look for the padding to find the
    last token find it. The tokenizer's own padding side and token are not used.

    Args:
        model: hub id, or a folder.
        max_tokens: longer texts lose the end of the response (``counts["truncated"]``). A prompt that would leave the
            response less than a quarter of this loses its own end too (``counts["prompt_truncated"]``); a conversation
            loses its oldest turns before that.
        revision: of the hub's repository.
        dtype: of the weights and of the computation.
        attention: implementation; ``flash_attention_2`` needs a GPU and the package flash-attn.
        batch_tokens: how many tokens are computed at once, padding included; a longer text goes alone.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` spreads the model over all GPUs (needs the package accelerate);
            None for the first GPU, or the CPU where there is none.
        trust_remote_code: whether Python files of the model's repository may be run.
        chat_template: Jinja text in place of the tokenizer's own.
        system: what stands before conversations that have no system message of their own.
    """

    loader: ClassVar[str] = "AutoModelForSequenceClassification"
    load_options: ClassVar[Mapping[str, Any]] = {"num_labels": 1}
    reads_references = False
    takes_turns: ClassVar[bool] = True  # whether a conversation is fed as turns; else as one text
    brings_code: ClassVar[bool] = False  # the model's class is in its repository, not in transformers

    def __init__(
        self,
        model: str,
        max_tokens: int,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16",
        attention: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa",
        batch_tokens: int = 16384,
        device: str | None = None,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
        system: str | None = None,
    ) -> None:
        super().__init__()
        for key, value in {"max_tokens": max_tokens, "batch_tokens": batch_tokens}.items():
            if value < 1:
                raise ErpError(f"reward_model.{key} = {value}: give 1 or more")
        if self.brings_code and not trust_remote_code:
            raise ErpError(
                f"reward_model.trust_remote_code = false: {model} brings Python code of its own, without which it does "
                f"not load; read it, pin reward_model.revision, then say reward_model.trust_remote_code=true"
            )
        if not self.takes_turns and (chat_template or system):
            raise ErpError(f"reward_model.chat_template, system: {model} is fed no chat template; leave them out")
        self.model, self.revision, self.max_tokens = model, revision, max_tokens
        self.dtype, self.attention, self.batch_tokens = dtype, attention, batch_tokens
        self.device, self.trust_remote_code = device, trust_remote_code
        self.chat_template, self.system = chat_template, system
        self._weights_dir: str | None = None
        self._network: Any = None
        self._tokenizer: Any = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def about(self) -> dict[str, Any]:
        """Model id, revision, dtype, attention implementation, window and device; template and system if given."""
        own = {"chat_template": self.chat_template, "system": self.system}
        return {
            "model": self.model, "revision": self.revision, "dtype": self.dtype, "attention": self.attention,
            "max_tokens": self.max_tokens, "device": self._device(),
            **{name: said for name, said in own.items() if said is not None},
        }  # fmt: skip

    def notes(self, counts: Mapping[str, int], scored: int | None) -> list[str]:
        """How many texts were cut."""
        return window.cut_notes(counts, scored, self.max_tokens)

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """The raw output for each pair, in order; None where it is not finite."""
        return [score for _, score in self.each(pairs)]

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, float | Failure | None]]:
        """Position and raw output of each pair, in order; the next ones are tokenised while some are computed."""
        if self._network is None:
            self._load()
        starts = range(0, len(pairs), AT_ONCE)
        tokenised = one_ahead(lambda start: [self.fitted(pair) for pair in pairs[start : start + AT_ONCE]], starts)
        for start, fitted in zip(starts, tokenised, strict=True):
            prompts = [pair.prompt for pair in pairs[start : start + AT_ONCE]]
            yield from enumerate(self._scored(prompts, fitted), start)

    def _scored(self, prompts: list[str], fitted: list[Fitted]) -> list[float | None]:
        self.counts.update(name for one in fitted for name in one.cut)
        rows = [one.row for one in fitted]
        scores: list[float | None] = [None] * len(rows)
        for places in self.together(prompts, [len(row["input_ids"]) for row in rows]):
            for place, value in zip(places, self._values([rows[i] for i in places]), strict=True):
                if math.isfinite(value):
                    scores[place] = value
                else:
                    self.counts["non_finite"] += 1
        return scores

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:
        """The whole input of one pair, however long, behind the turns of a conversation that came before the prompt."""
        raise NotImplementedError(f"{type(self).__name__} defines no tokenise")

    def rendered(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> str:
        """The conversation in the chat template, behind ``system`` unless it has a system message of its own."""
        return window.render(self._tokenizer, prompt, response, window.opened(earlier, self.system))

    def network_class(self, folder: Path) -> Any:  # noqa: ARG002
        """The class whose ``from_pretrained`` reads the weights in ``folder``."""
        return getattr(importlib.import_module("transformers"), self.loader)

    def read_apart(self, network: Any) -> None:
        """Read weights that lie where ``from_pretrained`` does not look into the network."""

    def read(self, output: Any) -> torch.Tensor:
        """The scores in what the model returned, one per row."""
        logits: torch.Tensor = output.logits
        return logits

    def together(self, prompts: Sequence[str], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Which rows are computed at once: those of like length. ``prompts`` and ``lengths`` are of the rows."""
        del prompts
        return window.batches(lengths, self.batch_tokens)

    def fitted(self, pair: Pair) -> Fitted:
        """A pair as the model is fed it. Lone surrogates (half an emoji, as JSON may carry it) read ? instead."""
        *earlier, last = pair.turns if self.takes_turns else ({"content": pair.prompt},)
        whole = whole_text(last["content"]), whole_text(pair.response)
        row = self.tokenise(*whole, earlier)
        if len(row["input_ids"]) <= self.max_tokens:
            return Fitted(*whole, row)
        kept: Sequence[Turn] = earlier

        def length(prompt: str, response: str) -> int:
            return len(self.tokenise(prompt, response, kept)["input_ids"])

        while kept and length(whole[0], "") > self.max_tokens - self.max_tokens // window.RESPONSE_SHARE:
            kept = window.without_oldest(kept)
        prompt, response = window.fit(whole[0], whole[1], length, self._cuts, self.max_tokens)
        shorter = (prompt, len(kept)) != (whole[0], len(earlier))
        cut = {"truncated": response != whole[1], "prompt_truncated": shorter}
        done = tuple(name for name, is_cut in cut.items() if is_cut)
        return Fitted(prompt, response, self.tokenise(prompt, response, kept), done)

    def load_tokenizer(self) -> None:
        """All that ``fitted`` needs of most models; no weights are read."""
        folder = find_weights(
            Weights(self.model, file="tokenizer_config.json", revision=self.revision, only=TOKENIZER), self._weights_dir
        )
        try:
            self._tokenizer = self._tokenizer_in(folder)
        except BROKEN as error:
            raise ErpError(
                f"reward_model.tokenizer = {self.model}: cannot be loaded from {folder} ({said_by(error)}); put all of "
                f"the tokenizer's files there"
            ) from None

    def _tokenizer_in(self, folder: Path) -> Any:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=self.trust_remote_code, local_files_only=True
        )
        if self.chat_template is not None:
            tokenizer.chat_template = self.chat_template
        return tokenizer

    def _cuts(self, text: str) -> list[int]:
        """Where a text may end, in characters: after each token, or anywhere if the tokenizer does not tell."""
        if not self._tokenizer.is_fast:
            return list(range(len(text) + 1))
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return sorted({0, len(text), *(end for _, end in encoded["offset_mapping"])})

    def _values(self, rows: Sequence[Row]) -> list[float]:
        """One forward pass."""
        import torch

        used = {token for row in rows for token in row["input_ids"]}
        config = self._network.config.get_text_config()
        filler = next((token for token in range(config.vocab_size) if token not in used), None)
        if filler is None and len(rows) > 1:  # a toy vocabulary that is used up
            return [value for row in rows for value in self._values([row])]
        config.pad_token_id = filler
        inputs = window.collated(rows, filler or 0)
        with self._room(), torch.inference_mode():
            tensors = {name: torch.tensor(grid, device=self._network.device) for name, grid in inputs.items()}
            output = self._network(**tensors)
        values: list[float] = self.read(output).float().flatten().tolist()
        if len(values) != len(rows):
            raise ErpError(f"reward_model.model = {self.model}: gives {len(values)} numbers for {len(rows)} pairs")
        return values

    @contextmanager
    def _room(self) -> Iterator[None]:
        import torch

        try:
            yield
        except torch.OutOfMemoryError:
            raise ErpError(
                f"reward_model.batch_tokens = {self.batch_tokens}: {self.model} runs out of memory on "
                f"{self._network.device}; give fewer, or fewer reward_model.max_tokens"
            ) from None

    def _device(self) -> str:
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def _load(self) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it would stand beside ours
        device = self._device()
        # Large models come in shards: config.json is the one file that every folder has.
        folder = find_weights(Weights(self.model, file="config.json", revision=self.revision), self._weights_dir)
        try:
            self._tokenizer = self._tokenizer_in(folder)
            network, report = self.network_class(folder).from_pretrained(
                folder,
                dtype=getattr(torch, self.dtype),
                attn_implementation=self.attention,
                output_loading_info=True,
                **({"device_map": "auto"} if device == "auto" else {}),
                trust_remote_code=self.trust_remote_code,
                local_files_only=True,
                **self.load_options,
            )
            self.read_apart(network)
            network = (network if device == "auto" else network.to(device)).eval()
        except (*BROKEN, SafetensorError) as error:
            raise self._unloadable(folder, error) from None
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise ErpError(
                f"reward_model.model = {self.model}: has no weights for {shorten(sorted(report['missing_keys']), 3)}; "
                f"give a model that was trained to score, and the _target_ it is made for"
            )
        if self.attention == "sdpa" and getattr(network.config, "attn_logit_softcapping", None):
            raise ErpError(
                "reward_model.attention = sdpa: leaves out the soft-capping this model was trained with; choose eager "
                "or flash_attention_2"
            )
        network.config.get_text_config().use_cache = False  # nothing is generated
        self._network = network
        if self.brings_code and self.batch_tokens > 1:
            self._check_padding()

    def _check_padding(self) -> None:
        """A model's own code may look for the last token where padding stands: refuse that before it scores."""
        short, long = self.tokenise("Hi", "Hello."), self.tokenise("Hi", "Hello. " * 8)
        alone, batched = self._values([short])[0], self._values([long, short])[1]
        if abs(alone - batched) > 0.05 * (1 + abs(alone)):  # far above what rounding in half precision does
            self._network = None
            raise ErpError(
                f"reward_model.model = {self.model}: scores a text {alone:.3f} alone and {batched:.3f} beside a longer "
                f"one; say reward_model.batch_tokens=1 for one text at a time"
            )

    def _unloadable(self, folder: Path, error: Exception) -> ErpError:
        return ErpError(
            f"reward_model.model = {self.model}: cannot be loaded from {folder} as {self.loader} in {self.dtype} with "
            f"{self.attention} attention on {self._device()} ({said_by(error)}); put all of its files there, or change "
            f"reward_model.dtype, attention or device"
        )
