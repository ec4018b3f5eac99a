"""What stands between a decoder's states and a score, where that is more than one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import leaky_relu
from transformers.modeling_outputs import SequenceClassifierOutput


def with_head(parent: Any, make: Callable[[], nn.Module], in_float32: bool = False, apart: bool = False) -> Any:
    """A sequence classifier of ``transformers`` with another module for its ``score``.

    Args:
        parent: the class for the base model's architecture.
        make: the head, from the last token's states (B, width) to scores (B, 1) or (B,). One that has ``at_prompt``
            is also given what that finds in the states (B, length, width) and the token ids (B, length).
        in_float32: whether the head's weights stay in float32, whatever the base model's are.
        apart: whether they are read later, from files of their own.
    """

    class Headed(parent):  # type: ignore[misc]
        _keep_in_fp32_modules_strict = ("score",) if in_float32 else None
        _keys_to_ignore_on_load_missing = (r"^score\.",) if apart else None

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.score = make()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
            states = self.base_model(input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            rows = torch.arange(len(states), device=states.device)
            last = states[rows, (attention_mask.sum(1) - 1).to(states.device)]  # padding is on the right
            at_prompt = getattr(self.score, "at_prompt", None)
            also = () if at_prompt is None else (at_prompt(states, input_ids),)
            return SequenceClassifierOutput(logits=self.score(last, *also))

    return Headed


def two_layers(width: int) -> nn.Module:
    """Linear, ReLU, linear; the weights are called ``score.0`` and ``score.2``."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


class Gate(nn.Module):
    """Weights of objectives: layers of linear, ReLU and batch norm, then a softmax that is scaled."""

    def __init__(self, sizes: Sequence[int], objectives: int, temperature: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size, hidden in pairwise(sizes):
            layers += [nn.Linear(size, hidden, bias=False), nn.ReLU(), nn.BatchNorm1d(hidden)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], objectives))
        self.logit_scale, self.temperature = nn.Parameter(torch.ones(1)), temperature

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Weights (B, objectives)."""
        weights: torch.Tensor = (self.layers(states) / self.temperature).softmax(-1) * self.logit_scale
        return weights


class GatedQuantiles(nn.Module):
    """QRM's: quantiles of several objectives' rewards, whose means are weighted by what a gate makes of the prompt.

    Args:
        width: of the states.
        said: the model's ``config.json``.
        header: token ids that end the prompt; the gate reads the first of the last of them.
    """

    def __init__(self, width: int, said: Mapping[str, Any], header: Sequence[int]) -> None:
        super().__init__()
        objectives, hidden = said.get("num_objectives", 19), said.get("gating_hidden_dim", 1024)
        self.regression_layer = nn.Linear(width, objectives * said["num_quantiles"], bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.eye(objectives))
        sizes = [width, *[hidden] * said.get("gating_n_hidden", 3)]
        self.gating = Gate(sizes, objectives, said.get("gating_temperature", 10))
        self.header = tuple(header)

    def at_prompt(self, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The states (B, width) where the prompt ends; NaN for a text without the header."""
        if ids.shape[1] < len(self.header):
            return torch.full_like(states[:, 0], torch.nan)
        found = (ids.unfold(1, len(self.header), 1) == ids.new_tensor(self.header)).all(-1)
        places = torch.arange(found.shape[1], device=found.device)
        last = torch.where(found, places, -1).amax(1).to(states.device)
        at = states[torch.arange(len(states), device=states.device), last]
        return torch.where((last < 0)[:, None], torch.nan, at)

    def forward(self, last: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Scores (B,)."""
        weights = self.gating(prompt.float())
        means = self.regression_layer(last.float()).unflatten(-1, (weights.shape[-1], -1)).mean(-1)
        scores: torch.Tensor = (weights * (means @ self.reward_transform_matrix)).sum(-1)
        return scores


class Leaky(nn.Module):
    """Linear layers with leaky ReLUs between them, as many and as wide as the weights ``network.<i>`` say."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        sizes = {name.split(".")[1]: w.shape for name, w in weights.items() if name.endswith(".weight")}
        self.network = nn.ModuleDict({i: nn.Linear(sizes[i][1], sizes[i][0]) for i in sorted(sizes, key=int)})

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """What the last layer gives."""
        *inner, last = self.network.values()
        for layer in inner:
            states = leaky_relu(layer(states))
        result: torch.Tensor = last(states)
        return result


class LabelDistribution(nn.Module):
    """LDL's: for every objective a distribution over ten grades from 0 to 1; their weighted sum's mean grade.

    Args:
        weights: those of ``regression_layer`` and of ``gating_layer``; they say how many layers there are.
        said: the model's ``config.json``.
    """

    GRADES = 10

    def __init__(self, weights: Mapping[str, Mapping[str, torch.Tensor]], said: Mapping[str, Any]) -> None:
        super().__init__()
        self.regression_layer, self.gating_layer = (
            Leaky(weights[name]) for name in ("regression_layer", "gating_layer")
        )
        self.temperature = said.get("temperature", 1.0) if said.get("softmax", False) else None

    def forward(self, last: torch.Tensor) -> torch.Tensor:
        """Scores (B,)."""
        chances = self.regression_layer(last.float()).unflatten(-1, (-1, self.GRADES)).softmax(-1)
        weights = self.gating_layer(last.float())
        if self.temperature is not None:
            weights = (weights / self.temperature).softmax(-1)
        grades = torch.linspace(0, 1, self.GRADES, device=last.device)
        scores: torch.Tensor = (weights.unsqueeze(-1) * chances).sum(-2) @ grades
        return scores
