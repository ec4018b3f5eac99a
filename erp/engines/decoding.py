"""What ``generate`` of transformers calls at every step: a sample drawn per row, and where each row ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from erp.config import Decoding


class Draws:
    """Logits processor after which the largest logit is a sample: Gumbel noise, every row's from its own generator.

    The largest of log p_i + g_i, with g_i = -log(e_i) and e_i standard exponential, is i with probability p_i
    (Maddison, Tarlow and Minka 2014). Small changes of p, as another batch brings, seldom change it.
    """

    def __init__(self, decoding: Decoding, seeds: Sequence[int], device: torch.device) -> None:
        from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.warpers: list[Any] = []
        if decoding.temperature is not None:
            self.warpers.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_k is not None:
            self.warpers.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p is not None and decoding.top_p < 1:
            self.warpers.append(TopPLogitsWarper(decoding.top_p))
        if decoding.min_p:
            self.warpers.append(MinPLogitsWarper(decoding.min_p))
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits of the next token, (rows, vocabulary), to logits whose largest is the draw."""
        for warp in self.warpers:
            scores = warp(input_ids, scores)
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.log()


class Ends:
    """Stopping criterion that notes after how many tokens each row ended: 0 not yet; and whether by a token or text."""

    def __init__(self, tokenizer: Any, tokens: torch.Tensor, rows: int, start: int, stop: Sequence[str]) -> None:
        self.tokenizer, self.tokens, self.start, self.stop = tokenizer, tokens, start, stop
        # A token is a byte or more: so many hold any stop string. One more, as a decoder may trim its first space.
        self.window = max((len(text.encode()) for text in stop), default=0) + 1
        self.length = torch.zeros(rows, dtype=torch.long, device=tokens.device)
        self.by_token = torch.zeros(rows, dtype=torch.bool, device=tokens.device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002
        """Whether each row has ended with its newest token, or before."""
        ended = torch.isin(input_ids[:, -1], self.tokens)
        self.by_token |= ended & (self.length == 0)
        if self.stop:
            tails = input_ids[:, max(self.start, input_ids.shape[1] - self.window) :].tolist()
            texts = [self.tokenizer.decode(tail, clean_up_tokenization_spaces=False) for tail in tails]
            said = [any(stop in text for stop in self.stop) for text in texts]
            ended |= torch.tensor(said, device=ended.device)
        self.length[ended & (self.length == 0)] = input_ids.shape[1] - self.start
        return self.length > 0
