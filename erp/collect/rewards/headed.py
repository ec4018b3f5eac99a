"""Decoders whose score is another head than one linear layer called ``score``; no code of their repositories is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from erp.collect.rewards.sequence import SequenceClassifier
from erp.errors import ErpError

if TYPE_CHECKING:
    from torch import nn


class HeadedDecoder(SequenceClassifier):
    """Base of decoders whose head ``transformers`` does not know: a subclass says how it is made.

    The base model is that of the architecture in ``config.json``; what else the repository's own class does (losses,
    where the padding is) is not needed. Weights that the head lacks are refused as they are of any model.
    """

    in_float32: ClassVar[bool] = False  # the head's weights, whatever the base model's are

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
        return with_head(parent, lambda: self.head(folder, said), self.in_float32)


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
