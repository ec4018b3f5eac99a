"""What a request may wish of the gateway, in headers or beside the body's own keys (``extra_body``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from erp.serving.refusal import unfit
from erp.table.asked import label_of

KEYS = ("x-erp-lambda", "x-erp-policy", "x-erp-members", "x-erp-session", "x-erp-category")
_LONGEST = 512  # letters of a name


@dataclass(frozen=True)
class Wishes:
    """What one request asks for.

    Attributes:
        lambda_: reward per shown unit of cost, in place of the operator's policy; None for that policy.
        members: who may answer; None for all.
        session: the name of the conversation; None where it is known by how it begins.
        category: of the prompt, for a router that reads it; None where it is unknown.
    """

    lambda_: float | None = None
    members: tuple[str, ...] | None = None
    session: str | None = None
    category: str | None = None


def wishes(headers: Mapping[str, str], body: Mapping[str, Any], pool: Sequence[str], policies: Sequence[str]) -> Wishes:
    """Read them; the body's come before the headers'.

    Args:
        headers: by lower-case name.
        body: as parsed.
        pool: all members.
        policies: what the operator allows.

    Raises:
        Refusal: one of them cannot be had.
    """
    given = {key: body[key] if body.get(key) is not None else headers.get(key) for key in KEYS}
    return Wishes(
        _price(given["x-erp-policy"], given["x-erp-lambda"], policies),
        _members(given["x-erp-members"], pool),
        _name(given["x-erp-session"], "x-erp-session: is no name of a conversation"),
        _category(body.get("x-erp-category"), headers.get("x-erp-category")),
    )


def _price(policy: Any, lambda_: Any, policies: Sequence[str]) -> float | None:
    if policy not in (None, "run", "lambda"):
        raise unfit("x-erp-policy: is no policy that can be asked for; give run or lambda, or leave it out")
    if policy == "run" or (policy is None and lambda_ is None):
        return None
    if "lambda" not in policies:
        raise unfit("x-erp-lambda: is not allowed by this gateway (gateway.policies); leave it out")
    try:
        price = math.nan if isinstance(lambda_, bool) or lambda_ is None else float(lambda_)
    except (TypeError, ValueError, OverflowError):
        price = math.nan
    if not price >= 0:
        raise unfit("x-erp-lambda: is no price; give 0 or more, inf always takes the cheapest member")
    return price


def _members(given: Any, pool: Sequence[str]) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = [unquote(name.strip()) for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise unfit("x-erp-members: is no list of members; give their names with commas between")
    if strange := [name for name in names if name not in pool]:
        raise unfit(f"x-erp-members: {strange[0][:80]!r} is no member; GET /v1/models lists them")
    return tuple(name for name in pool if name in names)


def _category(body: Any, header: str | None) -> str | None:
    try:
        given = label_of(unquote(header) if body is None and header is not None else body)
    except ValueError:
        given = ""
    return _name(given, "x-erp-category: is no name of a category")


def _name(given: Any, fault: str) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= _LONGEST:
        raise unfit(f"{fault}; give a text of 1 to {_LONGEST} letters")
    return given
