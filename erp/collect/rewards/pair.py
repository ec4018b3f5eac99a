"""Encoders that read prompt and response as a pair of texts, e.g. OpenAssistant's DeBERTa."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.window import Row
from erp.errors import ErpError
from erp.table.asked import Turn


class PairEncoder(LocalRewardModel):
    """An encoder over ``[CLS] prompt [SEP] response [SEP]``, without a chat template; the score is its only logit.

    Source: the card of OpenAssistant/reward-model-deberta-v3-large-v2. Its tokenizer names no longest input (1e30), and
    its positions are relative: distances are told apart up to 511 tokens, the farther ones are one, and a text may have
    any length. ``max_tokens`` says how long. DeBERTa runs with ``attention: eager`` only.
    """

    takes_turns: ClassVar[bool] = False

    def network_class(self, folder: Path) -> Any:
        """As of all; refuses a window beyond the positions of a model that numbers them from the beginning."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=self.trust_remote_code)
        relative = getattr(config, "relative_attention", False) and not getattr(config, "position_biased_input", True)
        positions = getattr(config, "max_position_embeddings", None)
        if positions and self.max_tokens > positions and not relative:
            raise ErpError(
                f"reward_model.max_tokens = {self.max_tokens}: {self.model} has positions for {positions}; give no more"
            )
        return super().network_class(folder)

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:  # noqa: ARG002
        """The pair as the tokenizer joins it, token types included."""
        encoded = self._tokenizer(prompt, response, return_attention_mask=False)
        return {name: list(ids) for name, ids in encoded.items()}
