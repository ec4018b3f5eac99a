"""Rewards that need no model: a response is checked against the reference its prompt came with."""

from __future__ import annotations

import functools
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from erp.collect.prompts.reasoning_gym import dataset
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.rewards.mathematics import Mathematics
from erp.collect.rewards.numbers import Number, Numbers
from erp.engines.base import Failure
from erp.errors import ErpError

NEEDED = {
    "exact": ["answer"],
    "numeric": ["answer"],
    "math": ["answer"],
    "regex": ["pattern"],
    "reasoning_gym": ["task", "answer"],
}
_ALLOWED = f"allowed are {', '.join(NEEDED)}"
_LATEX = re.compile(r"\$[^$]+\$|\\\(|\\\[")
_SAID = re.compile(r"\b(?:is|are|be)\b|\n|[Aa]nswer:")  # what comes behind is what a sentence says
_BOXED = re.compile(r"\\f?boxed\s*\{")
_MINUS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-"})


class Verifier(RewardAdapter):
    r"""Checks a response, on a scale of 0 to 1.

    The answer of a response is what ``extract`` finds. For ``numeric`` and ``math`` it is, in there or else in the
    whole response, the last ``\boxed{}``, or what follows the last ``####``; of a reference too.

    ``numeric`` compares the answer's last number with the reference, which has to be one number. It reads 1,234.5,
    1.234,5, 1 234, 25% (which is .25), 3/4, 1 1/2, \frac{3}{4}, 3e-4, 3 x 10^4, $5, 2 million, and every minus sign. An
    answer whose last digits are part of something else (12:30, 3 or 4, (5, 2), x > 3, 2^10, 3x) is wrong.

    ``math`` takes two numbers as ``numeric`` does, and asks math-verify about all else: formulas, roots, sets,
    intervals, tuples, equations, matrices. References that are a word (``\text{even}``) are compared as words.

    Counts: ``no_number``, answers that ``numeric`` could not read; ``timed_out``, comparisons that took too long. Both
    are scored 0.

    Args:
        method: ``exact`` (the answer, but for blanks and case), ``numeric``, ``math``, ``regex`` (the reference's
            ``pattern`` is found), ``reasoning_gym`` (the task's own scorer, which may give part of the credit), or
            ``reference``: what the reference's ``scorer`` says.
        extract: pattern of the final answer inside a response, in its last match's first group; a response without a
            match is taken whole. None always takes it whole.
        tolerance: between two numbers, relative to the reference; absolute where that is 0.
        decimal: the decimal mark of ``numeric``: with ``,`` 1.234 is 1234, and 3,5 can be read.
        percent: what a % is worth to ``numeric``; 1 where the references say 25 for 25%.
        units: what ``numeric`` does with a reference that has a unit, a word or currency sign beside its number:
            ``refuse`` it; ``ignore`` the unit; ``same`` wants the same beside the answer's number. Units are not
            converted. A reference without a unit takes any.
        timeout_s: seconds for one comparison of ``math``.
    """

    def __init__(
        self,
        method: Literal["reference", "exact", "numeric", "math", "regex", "reasoning_gym"] = "reference",
        extract: str | None = None,
        tolerance: float = 1e-6,
        decimal: Literal[".", ","] = ".",
        percent: float = 0.01,
        units: Literal["refuse", "ignore", "same"] = "refuse",
        timeout_s: float = 10.0,
    ) -> None:
        super().__init__()
        try:
            self._extract = None if extract is None else re.compile(extract, re.DOTALL)
        except re.error as error:
            raise ErpError(f"reward_model.extract = {extract}: is no regular expression ({error})") from None
        if self._extract is not None and not self._extract.groups:
            raise ErpError(f"reward_model.extract = {extract}: has no group; put ( ) around the answer")
        for name, value in (("percent", percent), ("timeout_s", timeout_s)):
            if not 0 < value < math.inf:
                raise ErpError(f"reward_model.{name} = {value}: give a number above 0")
        if not 0 <= tolerance < math.inf:
            raise ErpError(f"reward_model.tolerance = {tolerance}: give 0 or more")
        self.method, self.extract, self.tolerance, self.units = method, extract, tolerance, units
        self._said = {"decimal": decimal, "percent": percent, "units": units}
        self._numbers = Numbers(decimal, percent)
        self._mathematics = Mathematics(timeout_s)

    def about(self) -> dict[str, Any]:
        """Method and options."""
        said = {"verifier": self.method, "extract": self.extract, "tolerance": self.tolerance}
        return {**said, **self._said} if self.method in ("numeric", "math") else said

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """1 for right, 0 for wrong. Raises ErpError where a prompt has no reference to check against."""
        return [self._score(pair) for pair in pairs]

    def check(self, prompts: Iterable[Pair]) -> None:
        """Every prompt has a reference that its method can use. Raises ErpError: the first that has not, how many."""
        faults, count = dict[str, None](), 0
        for pair in prompts:
            count += 1
            try:
                method = self._method(pair)
                wanted = self._reference(method, pair)
                if method == "math" and not (self._numbers.only(wanted) or self._mathematics.reads(wanted)):
                    raise _unreadable(wanted, pair)
            except ErpError as error:
                faults[str(error)] = None
        self._mathematics.close()
        if faults:
            more = f" (and {len(faults) - 1:,} more of {count:,} prompts)" if len(faults) > 1 else ""
            raise ErpError(next(iter(faults)) + more)

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
        return method

    def _score(self, pair: Pair) -> float:
        method = self._method(pair)
        wanted = self._reference(method, pair)
        marked, answer = self._marked(pair.response)
        if method == "exact":
            return float(_plain(answer) == wanted)
        if isinstance(wanted, re.Pattern):
            return float(wanted.search(answer) is not None)
        if method == "reasoning_gym":
            return self._by_task(answer, pair.reference or {})
        answer, boxed = final(answer)
        if method == "numeric":
            return self._numeric(answer, wanted)
        try:
            return self._math(answer, wanted, marked or boxed)
        except ValueError:
            raise _unreadable(wanted, pair) from None

    def answer_in(self, response: str) -> str:
        """The final answer of a response, blanks at its ends removed."""
        return self._marked(response)[1]

    def _marked(self, response: str) -> tuple[bool, str]:
        """Whether ``extract`` found the answer, and the answer."""
        matches = [] if self._extract is None else list(self._extract.finditer(response))
        found = matches[-1].group(1) if matches else None
        return found is not None, (response if found is None else found).strip()

    def _reference(self, method: str, pair: Pair) -> Any:
        """What to hold an answer against. Raises ErpError where the method cannot judge by it."""
        reference = pair.reference or {}
        if method == "reasoning_gym":
            return None
        field = NEEDED[method][0]
        value = reference[field]
        text = as_text(value)
        where = f"reward_model = verifier: a reference's {field} = {str(value)[:60]!r} ({pair.prompt[:40]!r})"
        if text is None or not text.strip():
            kind = "empty" if text is not None or value is None else f"a {type(value).__name__}"
            raise ErpError(f"{where}: is {kind}; give a text or a number")
        if method == "regex":
            return _pattern(text, where)
        if method == "exact":
            return _plain(text)
        text = final(text)[0]
        number = self._numbers.only(text)
        if number is not None and number.unit and self.units == "refuse":
            raise ErpError(f"{where}: has a unit; give reward_model.units=ignore or same, or the number alone")
        if method == "numeric" and number is None:
            raise ErpError(
                f"{where}: is not one number; give reward_model=verifier_math for mathematics, verifier_exact for "
                "text, or reward_model.decimal=',' where 3,5 is a number"
            )
        return number if method == "numeric" else text

    def _numeric(self, answer: str, wanted: Number) -> float:
        found = self._numbers.last(answer)
        if found is None:
            self.counts["no_number"] += 1
            return 0.0
        return float(self._equal(found, wanted))

    def _equal(self, found: Number, wanted: Number) -> bool:
        if self.units == "same" and wanted.unit and found.unit != wanted.unit:
            return False
        allowed = Fraction(str(self.tolerance)) * (abs(wanted.value) or 1)
        return abs(found.value - wanted.value) <= allowed

    def _math(self, answer: str, wanted: str, marked: bool) -> float:
        number, found = self._numbers.only(wanted), self._numbers.only(answer)
        if not marked and _LATEX.search(answer) is None:  # plain words: their last number, or what their last line says
            found = self._numbers.last(answer) if number is not None else found
            answer = _SAID.split(answer.strip().rstrip("."))[-1].strip()
        if number is not None and found is not None:
            return float(self._equal(found, number))
        if number is not None:
            wanted = str(number.value)
        same = self._mathematics.same(wanted, answer.rstrip("."))
        if same is None:
            self.counts["timed_out"] += 1
        return float(bool(same))

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


def as_text(value: Any) -> str | None:
    """A reference's value as it would be written: 42.0 as 42; None for lists, objects and what is no number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return (
            (str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value))
            if math.isfinite(value)
            else None
        )
    return str(value) if isinstance(value, str | int) else None


def final(text: str) -> tuple[str, bool]:
    r"""What the last ``\boxed{}`` of a text holds, or what follows its last ``####``; else the text, and False."""
    opened: list[int] = []
    closed: dict[int, int] = {}  # where each pair of braces begins and ends, in one pass: a model may repeat itself
    for brace in re.finditer("[{}]", text):
        if brace[0] == "{":
            opened.append(brace.end())
        elif opened:
            closed[opened.pop()] = brace.start()
    for start in reversed([match.end() for match in _BOXED.finditer(text)]):
        if start in closed:
            return text[start : closed[start]].strip(), True
    head, mark, behind = text.rpartition("####")
    return (behind.strip(), True) if mark else (head + behind, False)


def _unreadable(reference: str, pair: Pair) -> ErpError:
    return ErpError(
        f"reward_model = verifier: a reference's answer = {reference[:60]!r} ({pair.prompt[:40]!r}): math-verify "
        "cannot read it; correct it, or give reward_model=verifier_exact"
    )


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ErpError(f"{where}: is no regular expression ({error}); correct it") from None
    if pattern.search("") is not None:
        raise ErpError(f"{where}: is found in every text, even in an empty one; give one that tells answers apart")
    return pattern


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).translate(_MINUS).split()).casefold()
