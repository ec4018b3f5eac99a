"""Encoders that read prompt and response as a pair of texts, e.g. OpenAssistant's DeBERTa."""

from __future__ import annotations

from erp.collect.rewards.local import LocalRewardModel, Row


class PairEncoder(LocalRewardModel):
    """An encoder over ``[CLS] prompt [SEP] response [SEP]``, without a chat template; the score is its only logit.

    Source: the card of OpenAssistant/reward-model-deberta-v3-large-v2. Its tokenizer names no longest input (1e30), its
    position range is 512: ``max_tokens`` says so. DeBERTa runs with ``attention: eager`` only.
    """

    def tokenise(self, prompt: str, response: str) -> Row:
        """The pair as the tokenizer joins it, token types included."""
        encoded = self._tokenizer(prompt, response, return_attention_mask=False)
        return {name: list(ids) for name, ids in encoded.items()}
