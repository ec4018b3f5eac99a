"""Eurus-RM, a Mistral with a linear score under another name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from erp.collect.rewards.sequence import SequenceClassifier
from erp.table.asked import Turn


class EurusReward(SequenceClassifier):
    """openbmb/Eurus-RM-7b: prompt in ``[INST]``, then the response; the last token's score.

    Its repository brings a class of its own, which computes what ``MistralForSequenceClassification`` computes from
    weights that it calls ``regression_head``: they are read under this name, and no code of the repository is run.
    """

    loader: ClassVar[str] = "MistralForSequenceClassification"
    load_options: ClassVar[Mapping[str, Any]] = {"num_labels": 1, "key_mapping": {"^regression_head": "score"}}

    takes_turns: ClassVar[bool] = False  # the card has none

    def text(self, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> str:  # noqa: ARG002
        """As on the model's card."""
        return f"[INST] {prompt} [/INST] {response}"
