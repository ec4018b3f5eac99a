"""LLMRouter: a row a response, with the metric of its task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import held, label, maybe_text, split_of, text
from erp.importers.ledger import Ledger
from erp.importers.records import Found

_FAILED = ("ERROR", "API Error:")


class LLMRouter(ByRecord):
    """``*routing*data*.jsonl`` of ulab-uiuc/LLMRouter, as its data pipeline writes them.

    Seen: that pipeline (``llmrouter/data/api_calling_evaluation.py``): ``task_name``, ``query``, ``gt``, ``metric``,
    ``model_name``, ``response``, ``token_num``, ``prompt_tokens``, ``completion_tokens``, ``response_time``,
    ``performance``. Not seen: the published file itself. The pipeline gives a failed call, whose response begins
    ``ERROR`` or ``API Error:``, the performance 0 like any other; here it is an error.
    """

    patterns = ("*routing*.jsonl", "*routing*.csv")
    harness = "LLMRouter"
    reward = "performance"

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The one row; its prompt is known by task and text."""
        del ledger
        values = found.values
        query, task = text(values, "query"), maybe_text(values, "task_name")
        response = maybe_text(values, "response")
        failed = response is not None and response.startswith(_FAILED)
        yield {
            **scored(held(values, "performance")),
            "error": "the call failed" if failed else None,
            "prompt_id": f"{task}/{hashlib.sha256(query.encode()).hexdigest()[:16]}",
            "prompt": query,
            "model": label(values, "model_name"),
            "category": task,
            "split": split_of(found.file.last)[1],
            "response": None if failed else response,
            "prompt_tokens": None if failed else values.get("prompt_tokens"),
            "completion_tokens": None if failed else values.get("completion_tokens"),
        }
