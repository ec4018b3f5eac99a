"""Encoders that read prompt and response as a pair of texts, e.g. OpenAssistant's DeBERTa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from erp.collect.rewards.local import LocalRewardModel, Row
from erp.table.asked import Turn


class PairEncoder(LocalRewardModel):
    """An encoder over ``[CLS] prompt [SEP] response [SEP]``, without a chat template; the score is its only logit.

    Source: the card of OpenAssistant/reward-model-deberta-v3-large-v2. Its tokenizer names no longest input (1e30), its
    position range is 512: ``max_tokens`` says so. DeBERTa runs with ``attention: eager`` only.
    """

    takes_turns: ClassVar[bool] = False

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:  # noqa: ARG002
        """The pair as the tokenizer joins it, token types included."""
        encoded = self._tokenizer(prompt, response, return_attention_mask=False)
        return {name: list(ids) for name, ids in encoded.items()}
