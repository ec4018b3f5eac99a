"""InternLM2-reward, whose class comes with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.window import Row
from erp.table.asked import Turn


class InternLM2Reward(LocalRewardModel):
    """internlm/internlm2-{1_8b,7b,20b}-reward: a score on a special token that stands after the conversation.

    The model's own ``get_scores`` does not truncate, and a tokenizer that did would cut the reward token off. So its
    ``forward`` is called, as ``get_scores`` calls it: the template's text without further special tokens,
    ``reward_token_id`` at the end of every row, padding on the right, and no cache, whose classes have changed since
    that code was written.

    Written from the model's card. The released code has not been run here: the tests load a small model of the same
    interface (``reward_token_id``; one logit per row, of the last token that the attention mask shows).
    """

    loader: ClassVar[str] = "AutoModel"
    load_options: ClassVar[Mapping[str, Any]] = {}
    brings_code: ClassVar[bool] = True

    def tokenise(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> Row:
        """The conversation in its template, then the reward token."""
        ids = self._tokenizer(self.rendered(prompt, response, earlier), add_special_tokens=False)["input_ids"]
        return {"input_ids": [*ids, self._network.reward_token_id]}
