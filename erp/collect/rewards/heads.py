"""What stands between a decoder's states and a score, where that is more than one linear layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput


def with_head(parent: Any, make: Callable[[], nn.Module], in_float32: bool) -> Any:
    """A sequence classifier of ``transformers`` with another module for its ``score``.

    Args:
        parent: the class for the base model's architecture.
        make: the head, from the last token's states (B, width) to scores (B, 1).
        in_float32: whether the head's weights stay in float32, whatever the base model's are.
    """

    class Headed(parent):  # type: ignore[misc]
        _keep_in_fp32_modules_strict = ("score",) if in_float32 else None

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.score = make()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
            states = self.base_model(input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            rows = torch.arange(len(states), device=states.device)
            last = states[rows, (attention_mask.sum(1) - 1).to(states.device)]  # padding is on the right
            return SequenceClassifierOutput(logits=self.score(last))

    return Headed


def two_layers(width: int) -> nn.Module:
    """Linear, ReLU, linear; the weights are called ``score.0`` and ``score.2``."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
