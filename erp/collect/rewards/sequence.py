"""Decoders with a linear score on the last token: GRM, Skywork, FsfairX, RM-Gemma, RM-Mistral, OffsetBias."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.window import Row, batches, padded
from erp.table.asked import Turn

LEAST_SHARED = 16  # tokens; a shorter beginning is not worth a pass of its own


class SequenceClassifier(LocalRewardModel):
    """A language model with one label: chat template to text, text to tokens, the last token's logit as it is.

    Sources: the cards of these models. They differ in who writes the beginning-of-sequence token, the template, the
    tokenizer, both (GRM's card) or neither; here there is exactly one wherever the tokenizer has such a token.

    The responses to one prompt are computed together, and what they begin with is computed once: the model's memory of
    the prompt is laid before each of them. Scores are the same but for rounding.
    """

    _shared: tuple[list[int], Any] = ([], None)  # the last beginning, and the model's memory of it

    def text(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> str:
        """The conversation in its template."""
        return self.rendered(prompt, response, earlier)

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:
        """The conversation's text, one beginning-of-sequence token in front."""
        tokenizer = self._tokenizer
        text, bos = self.text(prompt, response, earlier), tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text.removeprefix(bos)
        ids = list(tokenizer(text)["input_ids"])
        if bos and ids[:1] != [tokenizer.bos_token_id]:
            ids = [tokenizer.bos_token_id, *ids]
        return {"input_ids": ids}

    def together(self, prompts: Sequence[str], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of one prompt, of like length; prompts with a single response stand together."""
        alone: list[int] = []
        for _, group in groupby(range(len(prompts)), key=lambda i: prompts[i]):
            places = list(group)
            if len(places) == 1:
                alone += places
                continue
            for batch in batches([lengths[i] for i in places], self.batch_tokens):
                yield [places[i] for i in batch]
        for batch in batches([lengths[i] for i in alone], self.batch_tokens):
            yield [alone[i] for i in batch]

    def _values(self, rows: Sequence[Row]) -> list[float]:
        ids = [row["input_ids"] for row in rows]
        prefix = self._shared[0]
        if not prefix or any(row[: len(prefix)] != prefix or len(row) == len(prefix) for row in ids):
            prefix = _beginning(ids)
        if len(rows) == 1 or len(prefix) < LEAST_SHARED or not hasattr(self._network, "score"):
            return super()._values(rows)
        return self._after(prefix, ids)

    def _after(self, prefix: list[int], ids: Sequence[list[int]]) -> list[float]:
        """The scores of rows that begin alike."""
        import torch

        network, at = self._network, self._network.device
        base = network.base_model
        known = inspect.signature(base.forward).parameters
        name = "cache" if "cache" in known else "past_key_values"  # its name until transformers 5.2x
        endings = [row[len(prefix) :] for row in ids]
        mask = torch.tensor([[1] * len(prefix) + row for row in padded([[1] * len(row) for row in endings], 0)])
        with self._room(), torch.inference_mode():
            if self._shared[0] != prefix:
                read = base(torch.tensor([prefix], device=at), use_cache=True)
                self._shared = prefix, getattr(read, name)
            memory = copy.deepcopy(self._shared[1])  # a forward pass writes into it
            memory.batch_repeat_interleave(len(ids))
            tokens = torch.tensor(padded(endings, 0), device=at)
            output = base(tokens, attention_mask=mask.to(at), use_cache=True, **{name: memory})
            last = output.last_hidden_state[range(len(ids)), [len(row) - 1 for row in endings]]
            values: list[float] = network.score(last).float().flatten().tolist()
        return values


def _beginning(ids: Sequence[list[int]]) -> list[int]:
    """The longest common beginning that leaves a token of every row."""
    first, last = min(ids), max(ids)  # what these two share, all share
    room = min(len(row) for row in ids) - 1
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), room)
    return first[: min(same, room)]
