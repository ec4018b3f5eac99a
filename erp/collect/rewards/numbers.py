r"""Numbers as people and models write them, read exactly: 1,234.5, 25%, 1 1/2, \frac{63}{400}, 3 x 10^5.

What is not surely one number that stands alone is none: 12:30, (5, 2), 3 or 4, x > 3, 2^10, \sqrt{2}, 3x, 7 - 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LONGEST = 300  # characters of a number; int() refuses from 4,300 digits on
_UNIT_LETTERS = "mgshdlLAKNJWVCF°"  # any other single letter right behind a number is a variable: 3x
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
           "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}  # fmt: skip
# One grammar serves LaTeX, Markdown and typographers: a text is first put in plain form.
_PLAIN = [
    (re.compile(pattern.replace(r"\b", "(?![A-Za-z])")), plain)  # a command ends with its letters: \times10
    for pattern, plain in [
        ("[\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d]", "-"),
        ("[\u00a0\u2009\u202f]|\\\\[,;:! ]|~", "\u2009"),
        (rf"([{''.join(_VULGAR)}])", r" \1 "),
        (r"\\[dtc]frac\b", r"\\frac"),
        (r"\\(?:text|textbf|mathrm|mathbf|mathit|mbox|operatorname|emph)\s*\{([^{}]*)\}", r" \1 "),
        (r"\{,\}", ","),
        (r"(?:([-+])[ \t]*)?\\frac\s*\{\s*([-+]?)([^{}]+?)\s*\}\s*\{\s*([^{}]+?)\s*\}", r" \1\2\3/\4 "),
        (r"(?:([-+])[ \t]*)?\\frac\s*(\d)\s*(\d)", r" \1\2/\3 "),
        (r"\\left\b|\\right\b|\\[()\[\]]|\\displaystyle\b|\\q?quad\b|\\end\{\w+\*?\}|</?[A-Za-z][^<>\n]{0,80}>", " "),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b", "°"),
        (r"\\times\b|\\cdot\b|[⋅∙·]", "×"),
        (r"\\div\b", "÷"),
        (r"\\approx\b|\\sim(?:eq)?\b", "≈"),
        (r"\\leq?(?:slant)?\b|\\lt\b|<=", "≤"),
        (r"\\geq?(?:slant)?\b|\\gt\b|>=", "≥"),
        (r"\\neq?\b|!=", "≠"),
        (r"\\pm\b", "±"),
        (r"\\([%$&#_])", r"\1"),
        (r"(?<![-=])[-=]+>|\\(?:Right|right|Longright)arrow\b|\\implies\b|\\to\b", "→"),
        (r"(?<![\w)])\*\*|\*\*(?![\w(-])|`|(?<!\w)__?|__?(?!\w)", ""),
        ("[\uff05\ufe6a]", "%"),
        ("\u2044", "/"),
    ]
]
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_AS_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_OPENING, _CLOSING = "([{", ")]}"
_TIES = "×÷^_±∓√≤≥≠<"  # beside these a number is part of something else
_ALSO = {",", ";", "or", "and", "to", "-", "±"}  # between two numbers these make a list, or a range


@dataclass(frozen=True)
class Number:
    """A number that stands in a text.

    Attributes:
        value: exact.
        unit: the word or currency sign beside it; "" where there is none.
        alone: whether the text holds nothing else, but for brackets, a last full stop, and ``x =`` before it.
    """

    value: Fraction
    unit: str
    alone: bool


@dataclass(frozen=True)
class _Token:
    kind: str  # number, word, command, sign
    text: str
    glued: bool  # nothing stands between it and the token before
    starts: bool  # first of its line
    match: re.Match[str]


class Numbers:
    """Reads numbers.

    Args:
        decimal: the decimal mark. The other mark separates thousands. Where both stand in one number, the last one is
            the decimal mark, whatever is said here.
        percent: what a ``%`` is worth.
    """

    def __init__(self, decimal: Literal[".", ","] = ".", percent: float = 0.01) -> None:
        self._decimal, self._percent = decimal, Fraction(str(percent))
        point, group = (r"\.", ",") if decimal == "." else (",", r"\.")
        both = r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:,\d{3})+\.\d+"
        grouped = rf"\d{{1,3}}(?:(?:{group}\d{{3}})+|(?:[ \u2009]\d{{3}})+|(?:['’]\d{{3}})+)(?!\d)"
        plain = rf"(?:{both}|(?:{grouped}|\d+)(?:{point}\d+)?|{point}\d+)"
        exponent = r"10[ \t]*\^[ \t]*[{{(]?(?P<{}>[-+]?\d{{1,3}})[)}}]?(?!\d)"
        number = (
            rf"(?:(?:US|CA|AU|A|C)?[$€£¥₹][ \t]?)?(?:(?P<whole>\d+)[ \t\u2009]+(?P<part>\d+/\d+)(?![.,]?\d)"
            rf"|{exponent.format('ten')}"
            rf"|(?P<top>{plain})(?:[eE](?P<e>[-+]?\d{{1,3}})(?!\w)|[ \t]*[×*x][ \t]*{exponent.format('power')}"
            rf"|[ \t]*/[ \t]*(?P<bottom>{plain}))?)"
            rf"(?P<percent>[ \t\u2009]*(?:%|per[ ]?cent\b))?(?:[ \t]*(?P<scale>{'|'.join(_SCALES)})s?\b)?"
        )
        word = r"[^\W\d_](?:[^\W_]|[-_^](?=\w)|\.(?=\d))*"  # H2O, GPT-4, x_1, m^2: the digits of a name are no numbers
        self._tokens = re.compile(rf"(?P<number>{number})|(?P<word>{word})|(?P<command>\\[A-Za-z]+)|(?P<sign>\S)")

    def last(self, text: str) -> Number | None:
        """The last number of a text; None where its last digits are no number, or one of several in a row."""
        tokens = self._split(text)
        places = [place for place, token in enumerate(tokens) if token.kind == "number"]
        if not places:
            return None
        number = self._read(tokens, places[-1])
        if number is None or len(places) == 1 or not _in_a_row(tokens[places[-2] + 1 : places[-1]]):
            return number
        before = self._read(tokens, places[-2])
        return number if before is not None and before.value == number.value else None

    def only(self, text: str) -> Number | None:
        """The number that the whole text is, with or without a unit; None where it is anything else."""
        number = self.last(text)
        return number if number is not None and number.alone else None

    def _split(self, text: str) -> list[_Token]:
        for vulgar, plain in _PLAIN:
            text = vulgar.sub(plain, text)
        text = "".join(_VULGAR.get(character, character) for character in text)
        text = _SUPERSCRIPT.sub(lambda match: "^" + match[0].translate(_AS_DIGITS), text)
        tokens: list[_Token] = []
        end = 0
        for match in self._tokens.finditer(text):
            starts = not tokens or "\n" in text[end : match.start()]
            glued = bool(tokens) and match.start() == end
            tokens.append(_Token(str(match.lastgroup), match[0], glued, starts, match))
            end = match.end()
        return tokens

    def _read(self, tokens: Sequence[_Token], place: int) -> Number | None:
        """The number at a place of the text; None where it is part of something else, or too long."""
        token = tokens[place]
        first, minus = _sign(tokens, place)
        if first is None or _tied_before(tokens, first) or _tied_after(tokens, place) or len(token.text) > _LONGEST:
            return None
        value = self._value(token.match)
        if value is None:
            return None
        unit, behind = _unit(tokens, place)
        head = [t.text for t in tokens[:first] if t.text != "$"]
        if head[1:2] == ["="] and re.fullmatch(r"[^\W\d]\w*", head[0]):
            head = head[2:]
        others = [*head, *(t.text for t in tokens[behind:])]
        return Number(-value if minus else value, unit, all(text in "([{$.=}])" for text in others))

    def _value(self, match: re.Match[str]) -> Fraction | None:
        if match["ten"]:
            value: Fraction = Fraction(10) ** int(match["ten"])
        elif match["whole"]:
            part = match["part"].split("/")
            if not int(part[0]) < int(part[1]):
                return None
            value = int(match["whole"]) + Fraction(int(part[0]), int(part[1]))
        else:
            value = self._exact(match["top"])
            if match["bottom"]:
                bottom = self._exact(match["bottom"])
                if not bottom:
                    return None
                value /= bottom
            value *= Fraction(10) ** int(match["e"] or match["power"] or 0)
        if match["percent"]:
            value *= self._percent
        return value * Fraction(10) ** _SCALES.get((match["scale"] or "").lower(), 0)

    def _exact(self, text: str) -> Fraction:
        digits = re.sub(r"[ \u2009'’]", "", text)
        decimal = max(",.", key=digits.rfind) if "," in digits and "." in digits else self._decimal
        return Fraction(digits.replace("," if decimal == "." else ".", "").replace(decimal, "."))


def _sign(tokens: Sequence[_Token], place: int) -> tuple[int | None, bool]:
    """Where the number begins, its sign included, and whether that is a minus; None where it is what is taken away."""
    if place == 0:
        return place, False
    before, token = tokens[place - 1], tokens[place]
    operand = place > 1 and not before.starts and _is_operand(tokens[place - 2])
    if before.text.lower() in ("minus", "negative"):
        return (None, False) if operand else (place - 1, True)
    if before.text not in ("-", "+"):
        return place, False
    if operand or (before.glued and place > 1 and tokens[place - 2].kind == "word"):
        return None, False
    if token.glued or place == 1 or tokens[place - 2].text in ("=", "≈", "$", *_OPENING):
        return place - 1, before.text == "-"
    return place, False  # a dash, or an item of a list


def _is_operand(token: _Token) -> bool:
    return token.kind == "number" or token.text in (*_CLOSING, "%")


def _tied_before(tokens: Sequence[_Token], first: int) -> bool:
    if first == 0:
        return False
    before, glued = tokens[first - 1], tokens[first].glued
    if before.text in _OPENING:  # what a function, a root or a power is given
        outer = tokens[first - 2] if first > 1 else None
        return outer is not None and (
            outer.kind == "command"
            or outer.text in _TIES
            or (before.glued and (outer.kind in ("word", "number") or outer.text == "-"))
        )
    if before.kind == "command" or before.text in _TIES:
        return True
    if before.kind == "number":
        return not tokens[first].starts
    if before.kind == "word":
        return glued
    if before.text in "*/+>":  # not what marks a line of a list, or a quotation
        return not before.starts
    return before.text in ".,:'’" and glued and before.glued and first > 1 and tokens[first - 2].kind == "number"


def _tied_after(tokens: Sequence[_Token], place: int) -> bool:
    if place + 1 == len(tokens):
        return False
    after, further = tokens[place + 1], tokens[place + 2] if place + 2 < len(tokens) else None
    if after.kind == "word":
        variable = len(after.text) == 1 and after.text not in _UNIT_LETTERS
        return after.glued and (variable or re.fullmatch(r"[^\d^]*\d.*", after.text) is not None)
    if after.starts:
        return False
    if after.kind == "command" or after.text in "^×÷±√‰":
        return True
    if after.text in "+-*/" and further is not None and not further.starts:
        variable = further.kind == "word" and len(further.text) == 1 and further.text not in "aI"
        return variable or further.kind == "command" or further.text in _OPENING
    return after.glued and after.text in "+({!" and not (after.text == "!" and (further is None or not further.glued))


def _unit(tokens: Sequence[_Token], place: int) -> tuple[str, int]:
    """The unit of a number, and where the text goes on behind it."""
    money = re.match(r"[^\d.\s]*", tokens[place].text)
    behind = place + 1
    if behind < len(tokens) and tokens[behind].text == "$" and money is not None and money[0] in ("", "$"):
        return ("", behind + 1) if money[0] or any(t.text == "$" for t in tokens[:place]) else ("$", behind + 1)
    if money is not None and money[0]:
        return money[0], behind
    if behind < len(tokens) and (tokens[behind].kind == "word" or tokens[behind].text in "°$€£¥₹"):
        unit = tokens[behind].text
        behind += 1
        while (
            behind + 1 < len(tokens)
            and tokens[behind].glued
            and tokens[behind].text == "/"
            and tokens[behind + 1].glued
        ):
            unit += "/" + tokens[behind + 1].text
            behind += 2
        if unit == "°" and behind < len(tokens) and tokens[behind].glued and tokens[behind].text in ("C", "F"):
            unit, behind = unit + tokens[behind].text, behind + 1
        return unit, behind
    return "", behind


def _in_a_row(between: Sequence[_Token]) -> bool:
    """Whether what stands between two numbers makes them a list or a range: 3 or 4, (5, 2), 3-4, x = 1, y = 2."""
    texts = [token.text for token in between]
    while len(texts) > 1 and texts[-1] in ("+", "-", "=", ":"):
        if texts.pop() in "=:" and len(texts[-1]) <= 2:
            texts.pop()
    return bool(texts) and all(text.lower() in _ALSO for text in texts) and not any(t.starts for t in between)
