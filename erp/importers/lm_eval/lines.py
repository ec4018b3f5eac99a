"""A line of lm-evaluation-harness's samples: which document, what was sent, what came back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from erp.importers.fields import Misread, maybe_text, shown


def parsed(line: str) -> dict[str, Any] | None:
    """What a line holds; None where it is no JSON object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def document_of(sample: Mapping[str, Any]) -> str:
    """What tells documents apart, whatever was made of them. Raises Misread: nothing does."""
    if hashed := maybe_text(sample, "doc_hash"):
        return hashed
    if not isinstance(doc := sample.get("doc"), dict):
        raise Misread("there is no doc_hash and no doc", f"doc = {shown(sample.get('doc'))}")
    return hashlib.sha256(json.dumps(doc, indent=2, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


def calls_of(sample: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What was sent, and what came with it: a continuation, or settings. Raises Misread: nothing was."""
    sent_all = sample.get("arguments")
    calls = list(sent_all.values()) if isinstance(sent_all, dict) else sent_all if isinstance(sent_all, list) else []
    found: list[tuple[str, object]] = []
    for call in calls:
        parts = list(call.values()) if isinstance(call, dict) else call if isinstance(call, list) else []
        sent = parts[0] if parts else None
        if isinstance(sent, list) and len(sent) == 1:  # a chat, as it goes to a server
            sent = sent[0]
        if isinstance(sent, str):
            found.append((sent, parts[1] if len(parts) > 1 else None))
    if not found or not any(sent.strip() for sent, _ in found):
        raise Misread("arguments hold no prompt", f"arguments = {shown(sent_all)}")
    return found


def responses_of(sample: Mapping[str, Any]) -> list[str]:
    """What the model wrote; empty where it chose among texts."""
    resps = sample.get("resps")
    first = resps[0] if isinstance(resps, list) and len(resps) == 1 else None
    return [said for said in first if isinstance(said, str)] if isinstance(first, list) else []
