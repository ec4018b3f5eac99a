"""Decoders whose score is another head than one linear layer called ``score``; no code of their repositories is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.sequence import SequenceClassifier
from erp.collect.rewards.window import Row
from erp.errors import ErpError

if TYPE_CHECKING:
    from torch import nn


class HeadedDecoder(SequenceClassifier):
    """Base of decoders whose head ``transformers`` does not know: a subclass says how it is made.

    The base model is that of the architecture in ``config.json``; what else the repository's own class does (losses,
    where the padding is) is not needed. Weights that the head lacks are refused as they are of any model.
    """

    in_float32: ClassVar[bool] = False  # the head's weights, whatever the base model's are
    parts: ClassVar[Sequence[str]] = ()  # of the head that lie in files of their own

    def head(self, folder: Path, said: Mapping[str, Any]) -> nn.Module:
        """The head, its weights still to be read; ``said`` is ``config.json``."""
        raise NotImplementedError(f"{type(self).__name__} defines no head")

    def network_class(self, folder: Path) -> Any:
        """The architecture's sequence classifier with this head."""
        from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

        from erp.collect.rewards.heads import with_head

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parent = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        return with_head(parent, lambda: self.head(folder, said), self.in_float32, bool(self.parts))


class TwoLayers(HeadedDecoder):
    """Qwen/Qwen2.5-Math-RM-72B and infly/INF-ORM-Llama3.1-70B: linear, ReLU, linear on the last token's state."""

    def head(self, folder: Path, said: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Both layers have biases; the first is as wide as the base model."""
        from erp.collect.rewards.heads import two_layers

        return two_layers(said["hidden_size"])


class ScoreHead(HeadedDecoder):
    """Score models of Safe RLHF (PKU-Alignment/beaver-7b-v1.0-reward, -cost): linear, under the name ``score_head``."""

    load_options: ClassVar[Mapping[str, Any]] = {"num_labels": 1, "key_mapping": {"^score_head": "score"}}

    def head(self, folder: Path, said: Mapping[str, Any]) -> nn.Module:
        """With a bias where the model's config says so."""
        from torch import nn

        if said.get("do_normalize"):
            raise ErpError(
                f"reward_model.model = {self.model}: {folder / 'config.json'} says do_normalize, which is not done "
                f"here; say false there: scores are then the raw ones"
            )
        return nn.Linear(said["hidden_size"], 1, bias=bool(said.get("bias")))


class GatedQuantiles(HeadedDecoder):
    """nicolinho/QRM-Llama3.1-8B-v2: quantiles of objectives, mixed by a gate that reads the prompt.

    The gate sits where the last user's turn ends, at the header of the assistant's. A response is not computed behind
    what others to its prompt have computed: the gate needs the prompt's states, too.
    """

    in_float32: ClassVar[bool] = True
    load_options: ClassVar[Mapping[str, Any]] = {
        "num_labels": 1,
        "key_mapping": {
            rf"^{name}": f"score.{name}" for name in ("regression_layer", "gating", "reward_transform_matrix")
        },
    }
    header: ClassVar[str] = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"

    def head(self, folder: Path, said: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """As wide and deep as the model's config says."""
        from erp.collect.rewards.heads import GatedQuantiles as Head

        return Head(said["hidden_size"], said, self._tokenizer(self.header, add_special_tokens=False)["input_ids"])

    def together(self, prompts: Sequence[str], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of like length, of any prompts."""
        return LocalRewardModel.together(self, prompts, lengths)

    def _values(self, rows: Sequence[Row]) -> list[float]:
        return LocalRewardModel._values(self, rows)


class LabelDistribution(HeadedDecoder):
    """ShikaiChen/LDL-Reward-Gemma-2-27B-v0.1: distributions over grades, mixed by a gate, in files of their own."""

    in_float32: ClassVar[bool] = True
    parts: ClassVar[Sequence[str]] = ("regression_layer", "gating_layer")

    def network_class(self, folder: Path) -> Any:
        """As of all; the head is as wide and deep as its files say."""
        import torch

        self._parts = {
            name: torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True) for name in self.parts
        }
        return super().network_class(folder)

    def head(self, folder: Path, said: Mapping[str, Any]) -> nn.Module:  # noqa: ARG002
        """Of the layers whose weights were read."""
        from erp.collect.rewards.heads import LabelDistribution as Head

        return Head(self._parts, said)

    def read_apart(self, network: Any) -> None:
        """The head's weights."""
        weights = {f"{part}.{name}": w for part, all_of_it in self._parts.items() for name, w in all_of_it.items()}
        network.score.float().load_state_dict(weights)
        del self._parts
