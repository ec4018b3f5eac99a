"""What a causal LM that transformers loads makes of a prompt before it answers, out of one forward pass or two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.backbones.causal_lm_states import padded, pooled
from erp.config import Member
from erp.engines.conversations import common_prefix, conversation_ids, first_tokens
from erp.errors import ErpError

QUESTION = "\n\nCould you answer this correctly? Reply with Yes or No only."
YES, NO = ("Yes", "yes"), ("No", "no")
LIKELIEST = 10  # tokens whose mass is told beside that of the likeliest one
SURFACE = 5  # numbers of a reading that are no states: tokens, mean NLL, entropy, and the two masses
_LOGITS = 1 << 28  # of a batch at most: 1 GiB in 32 bits

Float32s = NDArray[np.float32]


class CausalLMProbe:
    """A causal LM with its head and its tokenizer, which reads prompts in its chat template.

    Args:
        model: of transformers, in evaluation mode.
        tokenizer: its own.
        name: of the model, for error lines.
        batch_size: prompts in one forward pass at most; fewer where their logits would take more than 1 GiB.

    Raises:
        ErpError: it has no chat template, or tells Yes from No by no token.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, batch_size: int) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.member = Member(name="backbone", model=name)
        if not tokenizer.chat_template:
            raise ErpError(f"backbone.model = {name}: has no chat template; give an instruct model")
        config = model.config.get_text_config()
        self.layers, self.width = config.num_hidden_layers + 1, config.hidden_size  # the embeddings are layer 0
        self.sides = first_tokens(tokenizer, YES, NO)

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text by itself."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """What token ids read."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def embed(self, texts: Sequence[str]) -> Float32s:
        """Readings, (n, 1 + layers * d + 5): how many layers, their states, and what the logits tell.

        The states are means over all tokens of the conversation, the embeddings first, the last ones after the final
        norm. Then come the prompt's tokens n, their mean negative log-likelihood in nats, the template's not counted,
        and of the answer's first token the entropy in nats and the mass of the likeliest and of the 10 likeliest.
        """
        found = np.zeros((len(texts), 1 + self.layers * self.width + SURFACE), dtype=np.float32)
        found[:, 0] = self.layers
        for rows, ids, output, mask in self._passes([self._conversation(text) for text in texts], states=True):
            states = [pooled(layer.float().cpu(), mask, "mean") for layer in output.hidden_states]
            found[rows, 1:-SURFACE] = torch.stack(states, dim=1).reshape(len(rows), -1).numpy()
            for row, one, logits in zip(rows, ids, output.logits, strict=True):
                found[row, -SURFACE:] = self._told(one, logits[: len(one)])
        return found

    def knows(self, texts: Sequence[str]) -> Float32s:
        """Log-odds of Yes against No to whether it could answer correctly, asked behind the prompt, (n, 1).

        The question of P(IK) (Kadavath et al., 2207.05221), put in words to the model as it is.
        """
        found = np.zeros((len(texts), 1), dtype=np.float32)
        for rows, ids, output, _ in self._passes([self._conversation(text + QUESTION) for text in texts]):
            for row, one, logits in zip(rows, ids, output.logits, strict=True):
                yes, no = (torch.logsumexp(logits[len(one) - 1, side].double(), 0) for side in self.sides)
                found[row] = float(yes - no)
        return found

    def _conversation(self, prompt: str) -> list[int]:
        return conversation_ids(self.tokenizer, [{"role": "user", "content": prompt}], self.member)

    @cached_property
    def _around(self) -> tuple[int, int]:
        """Tokens of the template before and behind a prompt: those that two unlike prompts share."""
        ends = [self._conversation(text) for text in ("a", "0")]
        return len(common_prefix(ends)), len(common_prefix([one[::-1] for one in ends]))

    def _told(self, ids: list[int], logits: Tensor) -> list[float]:
        """Prompt tokens, their mean NLL, and the entropy and masses of what follows; of (tokens, vocabulary) logits."""
        before, behind = self._around
        start, end = max(before, 1), max(len(ids) - behind, before)  # nothing comes before a first token
        likelihood = 0.0
        if end > start:
            given = logits[start - 1 : end - 1].float()
            of_next = given.gather(1, torch.tensor(ids[start:end], device=given.device)[:, None])[:, 0]
            likelihood = float((torch.logsumexp(given, dim=1) - of_next).double().mean())
        after = torch.log_softmax(logits[-1].double(), dim=0)
        likeliest = after.topk(min(LIKELIEST, len(after))).values.exp()
        entropy = float(-(after.exp() * after).nansum())
        return [float(end - before), likelihood, entropy, float(likeliest[0]), float(likeliest.sum())]

    @torch.inference_mode()
    def _passes(self, conversations: list[list[int]], states: bool = False) -> Any:
        """Rows, ids, output and mask of each batch; conversations of like length share one, padded on the right."""
        order = sorted(range(len(conversations)), key=lambda row: len(conversations[row]))
        vocabulary, device = self.model.config.get_text_config().vocab_size, self.model.device
        start = 0
        while start < len(order):
            rows = order[start : start + self.batch_size]
            while len(rows) > 1 and len(rows) * len(conversations[rows[-1]]) * vocabulary > _LOGITS:
                rows.pop()
            start += len(rows)
            ids = [conversations[row] for row in rows]
            tokens, mask = padded(ids)
            output = self.model(
                tokens.to(device), attention_mask=mask.to(device), output_hidden_states=states, use_cache=False
            )
            yield rows, ids, output, mask
