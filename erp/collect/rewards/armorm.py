"""ArmoRM, a gated mixture of 19 objectives, whose class comes with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.window import Row
from erp.table.asked import Turn

if TYPE_CHECKING:
    import torch


class ArmoRM(LocalRewardModel):
    """RLHFlow/ArmoRM-Llama3-8B-v0.1: ``output.score``, its 19 objectives mixed by a gate that reads the prompt.

    The gate sits at the assistant's header: a text cut before it is an error of the model ("Token pattern not found in
    the list"). Only prompt and response are cut here, never the template.

    Written from the model's card. The released code has not been run here: the tests load a small model of the same
    interface (``output.score``; the last token found by the padding; the error without a header).
    """

    brings_code: ClassVar[bool] = True

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:
        """The conversation in its template, which writes the beginning-of-sequence token itself."""
        ids = self._tokenizer(self.rendered(prompt, response, earlier), add_special_tokens=False)["input_ids"]
        return {"input_ids": list(ids)}

    def read(self, output: Any) -> torch.Tensor:
        """The mixed score."""
        score: torch.Tensor = output.score
        return score

    def _load(self) -> None:
        from transformers.models.llama import modeling_llama

        # The released code imports a text that transformers has since dropped; it only documents.
        vars(modeling_llama).setdefault("LLAMA_INPUTS_DOCSTRING", "")
        super()._load()
