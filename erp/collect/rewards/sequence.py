"""Decoders with a linear score on the last token: GRM, Skywork, FsfairX, RM-Gemma, RM-Mistral, OffsetBias."""

from __future__ import annotations

from erp.collect.rewards.local import LocalRewardModel, Row, render


class SequenceClassifier(LocalRewardModel):
    """A language model with one label: chat template to text, text to tokens, the last token's logit as it is.

    Sources: the cards of these models. They differ in who writes the beginning-of-sequence token, the template, the
    tokenizer, both (GRM's card) or neither; here there is exactly one wherever the tokenizer has such a token.

    The prompt, which the responses to it share, is computed again for each of them.
    """

    def tokenise(self, prompt: str, response: str) -> Row:
        """The conversation in its template, one beginning-of-sequence token in front."""
        tokenizer = self._tokenizer
        text, bos = render(tokenizer, prompt, response), tokenizer.bos_token
        while bos and text.startswith(bos):
            text = text.removeprefix(bos)
        ids = list(tokenizer(text)["input_ids"])
        if bos and ids[:1] != [tokenizer.bos_token_id]:
            ids = [tokenizer.bos_token_id, *ids]
        return {"input_ids": ids}
