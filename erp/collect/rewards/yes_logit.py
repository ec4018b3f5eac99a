"""A causal language model as a verifier: the log-odds of "Yes" to "is this a good answer?"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from erp.build import build
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.config import Member
from erp.engines.base import Engine, Failure, NextToken
from erp.errors import ErpError

QUESTION = """\
Here is a question and a proposed answer. Is the proposed answer correct? Reply with Yes or No only.

Question:
{prompt}

Proposed answer:
{response}

Is it correct?"""


class YesLogit(RewardAdapter):
    """The form of generative verifiers (GenRM, 2408.15240), with the log-odds in place of P(Yes): it does not saturate.

    Args:
        engine: plug-point node of an engine that knows the next token's probabilities: llamacpp or transformers.
        model: hub id or folder of the causal language model.
        file: its GGUF file, for llamacpp.
        sha256: of that file.
        revision: of the hub's repository.
        chat_template: Jinja text in place of the model's own.
        question: what the model is asked; ``{prompt}`` stands before ``{response}``, so that a prompt's part is
            computed once for all its responses.
        yes: words that say yes; of a word of several tokens the first one counts.
        no: words that say no.
    """

    reads_references = False

    def __init__(
        self,
        engine: dict[str, Any],
        model: str,
        file: str | None = None,
        sha256: str | None = None,
        revision: str | None = None,
        chat_template: str | None = None,
        question: str = QUESTION,
        yes: list[str] = ["Yes"],  # noqa: B006  # never changed, and a config shows it
        no: list[str] = ["No"],  # noqa: B006
    ) -> None:
        super().__init__()
        head, _, tail = question.partition("{response}")
        if "{prompt}" not in head or not _:
            raise ErpError("reward_model.question: has to hold {prompt} and, after it, {response}")
        self._head, self._tail = head, tail
        self._node = engine
        self.engine = build(engine, Engine, key="reward_model.engine")
        if not isinstance(self.engine, NextToken):
            raise ErpError(
                f"reward_model.engine._target_ = {engine['_target_']}: does not tell the next token's probabilities; "
                f"choose llamacpp or transformers"
            )
        self.member = Member(
            name="yes_logit", model=model, file=file, sha256=sha256, revision=revision, chat_template=chat_template
        )
        self.yes, self.no = yes, no

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self.engine.look_in(weights_dir)

    def about(self) -> dict[str, Any]:
        """Model and question."""
        m = self.member
        return {
            "engine": {key: value for key, value in self._node.items() if key not in self.engine.pace},
            "model": m.weights, "file": m.file, "sha256": m.sha256, "revision": m.revision,
            "chat_template": m.chat_template,
            "question": f"{self._head}{{response}}{self._tail}", "yes": self.yes, "no": self.no,
        }  # fmt: skip

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """Log-odds; prompts are worked on side by side where the engine takes several calls at once."""
        blocks = [list(block) for _, block in groupby(pairs, key=lambda pair: pair.prompt)]
        if not blocks:
            return []
        first = self._of_prompt(blocks[0])  # alone: it loads the model, and raises where that fails
        with ThreadPoolExecutor(getattr(self.engine, "concurrency", 1)) as pool:
            rest = pool.map(self._of_prompt, blocks[1:])
            return [self._finite(score) for block in (first, *rest) for score in block]

    def _of_prompt(self, pairs: list[Pair]) -> list[float | Failure]:
        assert isinstance(self.engine, NextToken)
        prefix = ({"role": "user", "content": self._head.replace("{prompt}", pairs[0].prompt)},)
        endings = [pair.response + self._tail for pair in pairs]
        return self.engine.log_odds(prefix, endings, self.member, self.yes, self.no)

    def _finite(self, score: float | Failure) -> float | Failure | None:
        if isinstance(score, Failure) or math.isfinite(score):
            return score
        self.counts["non_finite"] += 1
        return None
