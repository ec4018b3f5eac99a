"""Rewards that need no model: a response is checked against the reference its prompt came with."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from erp.collect.prompts.reasoning_gym import dataset
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.engines.base import Failure
from erp.errors import ErpError

NEEDED = {"exact": ["answer"], "numeric": ["answer"], "regex": ["pattern"], "reasoning_gym": ["task", "answer"]}
_ALLOWED = f"allowed are {', '.join(NEEDED)}"
_NUMBER = re.compile(r"(?<![\d.])[-+]?(?:\d[\d,]*)?\.?\d+(?:[eE][-+]?\d+)?")


class Verifier(RewardAdapter):
    """Checks a response, on a scale of 0 to 1.

    Args:
        method: ``exact`` (the answer, but for blanks and case), ``numeric`` (the last number of the response within
            ``tolerance`` of the answer), ``regex`` (the reference's ``pattern`` is found), ``reasoning_gym`` (the
            task's own scorer, which may give part of the credit), or ``reference``: what the reference's ``scorer``
            says.
        extract: pattern of the final answer inside a response, in its last match's first group; a response without a
            match is taken whole. None always takes it whole.
        tolerance: of ``numeric``, relative to the answer.
    """

    def __init__(
        self,
        method: Literal["reference", "exact", "numeric", "regex", "reasoning_gym"] = "reference",
        extract: str | None = None,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        try:
            self._extract = None if extract is None else re.compile(extract, re.DOTALL)
        except re.error as error:
            raise ErpError(f"reward_model.extract = {extract}: is no regular expression ({error})") from None
        if self._extract is not None and not self._extract.groups:
            raise ErpError(f"reward_model.extract = {extract}: has no group; put ( ) around the answer")
        self.method, self.extract, self.tolerance = method, extract, tolerance

    def about(self) -> dict[str, Any]:
        """Method and options."""
        return {"verifier": self.method, "extract": self.extract, "tolerance": self.tolerance}

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """1 for right, 0 for wrong. Raises ErpError where a prompt has no reference to check against."""
        return [self._score(pair) for pair in pairs]

    def check(self, prompts: Sequence[Pair]) -> None:
        """Every prompt has a reference that its method can use. Raises ErpError naming the first that has not."""
        for pair in prompts:
            self._method(pair)

    def _method(self, pair: Pair) -> str:
        reference = pair.reference or {}
        method = str(reference.get("scorer", "exact") if self.method == "reference" else self.method)
        if method not in NEEDED:
            raise ErpError(
                f"reward_model = verifier: a reference's scorer = {method}: there is no such method; {_ALLOWED}"
            )
        for needed in NEEDED[method]:
            if needed not in reference:
                raise ErpError(
                    f"reward_model = verifier: a prompt's reference has no {needed} ({pair.prompt[:40]!r}); "
                    f"give every prompt one, as JSON: {{{json.dumps(needed)}: ...}}"
                )
        if method == "regex":
            try:
                re.compile(str(reference["pattern"]))
            except re.error as error:
                raise ErpError(
                    f"reward_model = verifier: the pattern of a reference ({pair.prompt[:40]!r}) is no regular "
                    f"expression ({error}); correct it"
                ) from None
        return method

    def _score(self, pair: Pair) -> float:
        method, reference = self._method(pair), pair.reference or {}
        answer = self.answer_in(pair.response)
        if method == "exact":
            return float(_plain(answer) == _plain(str(reference["answer"])))
        if method == "numeric":
            return float(self._equal_numbers(answer, str(reference["answer"])))
        if method == "regex":
            return float(re.search(str(reference["pattern"]), answer) is not None)
        return self._by_task(answer, reference)

    def answer_in(self, response: str) -> str:
        """The final answer of a response, blanks at its ends removed."""
        matches = [] if self._extract is None else list(self._extract.finditer(response))
        found = matches[-1].group(1) if matches else response
        return (response if found is None else found).strip()

    def _equal_numbers(self, answer: str, wanted: str) -> bool:
        numbers, right = _NUMBER.findall(answer), _NUMBER.findall(wanted)
        if not numbers or not right:
            return False
        found, target = float(numbers[-1].replace(",", "")), float(right[-1].replace(",", ""))
        return math.isclose(found, target, rel_tol=self.tolerance, abs_tol=self.tolerance)

    def _by_task(self, answer: str, reference: Mapping[str, Any]) -> float:
        scorer = _scorer(reference["task"], json.dumps(reference.get("settings", {}), sort_keys=True))
        entry = {"answer": reference["answer"], "metadata": reference.get("metadata", {})}
        try:
            value = float(scorer(answer, entry))
        except Exception:  # a task's scorer parses what a model wrote: whatever it trips over is no right answer
            self.counts["scorer_raised"] += 1
            return 0.0
        return value


@functools.cache
def _scorer(task: str, settings: str) -> Any:
    return dataset(task, {**json.loads(settings), "size": 1, "seed": 0}).score_answer


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
