"""``POST /route``: the decision alone, of a prompt, a conversation, or many of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from erp.serving.asked import Asked, UnreadableError, asked
from erp.serving.gateway import AUTO, Decided, Gateway
from erp.serving.refusal import unfit

MOST = 1000
"""Prompts of one batch."""


async def route(gateway: Gateway, headers: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``{prompt}``, ``{messages, tools, ...}``, or ``{prompts: [...]}`` with texts or conversations.

    Raises:
        Refusal: something of it cannot be read, or nobody could answer.
    """
    wish = gateway.wishes(headers, body)
    many = body.get("prompts")
    if many is None:
        return told(await gateway.would(read(gateway, body), wish))
    if not isinstance(many, list) or not 0 < len(many) <= MOST:
        raise unfit(f"prompts: is no list of 1 to {MOST:,} prompts; give texts, or conversations [{{role, content}}]")
    bodies = [{"messages" if isinstance(one, list) else "prompt": one} for one in many]
    every = [read(gateway, one) for one in bodies]
    return {"data": [told(found) for found in await asyncio.gather(*(gateway.would(a, wish) for a in every))]}


def read(gateway: Gateway, body: Mapping[str, Any]) -> Asked:
    """What one of them asks. Raises Refusal."""
    prompt = body.get("prompt")
    turns = [{"role": "user", "content": prompt}] if "prompt" in body else body.get("messages")
    if "prompt" in body and not (isinstance(prompt, str) and prompt.strip()):
        raise unfit("prompt: is no text; give one, or messages [{role, content}]")
    chat = {"model": AUTO, **body, "messages": turns}
    try:
        found = asked(chat, "chat", gateway.served.predictor.trained.card.prompt_from)
    except (UnreadableError, RecursionError) as error:
        raise unfit(str(error) or "the body is nested too deeply") from None
    return replace(found, prompt=prompt) if isinstance(prompt, str) else found


def told(found: Decided) -> dict[str, Any]:
    """A decision as JSON: costs in base units, and lambda per so many of them as ``lambda_size`` says."""
    predictor = found.served.predictor
    card = predictor.trained.card
    predicted, decision = found.predicted, found.decision
    price = found.lambda_ * predictor.lambda_size
    members = {
        name: {
            predictor.trained.told: None if predicted is None else _number(predicted.rewards[name]),
            "predicted_cost": None if predicted is None else _number(predicted.costs[name]),
            "utility": _number(decision.utilities.get(name, math.nan)),
            "lacks": list(found.lacking.get(name, [])),
        }
        for name in predictor.members
    }
    return {
        "id": found.id,
        "member": decision.member,
        "path": decision.path,
        "order": list(decision.order),
        "lambda": "inf" if math.isinf(price) else price,
        "lambda_size": predictor.lambda_size,
        "cost_unit": card.cost_unit,
        "members": members,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
