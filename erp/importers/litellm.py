"""LiteLLM: spend logs of its proxy, joined with scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from erp.errors import ErpError
from erp.importers.base import Importer, Row
from erp.importers.chats import answered, asked, parsed
from erp.importers.fields import Misread, Record, is_missing, known_cost, label, maybe_text, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.served import PATTERNS, Requests, at, exported

_COMPLETIONS = ("completion", "acompletion", "text_completion", "atext_completion", "responses", "aresponses",
                "anthropic_messages")  # fmt: skip
_SCORES = ("score", "metadata.spend_logs_metadata.score", "metadata.requester_metadata.score", "metadata.score")
_CUT = re.compile(r"\(litellm_truncated skipped \d+ chars")


class LiteLLM(Importer):
    """Rows of ``LiteLLM_SpendLogs``, as ``/spend/logs`` answers or the database exports them.

    Seen: the table's schema and the code that fills it (BerriAI/litellm, ``proxy/schema.prisma`` and
    ``proxy/spend_tracking/spend_tracking_utils.py``), and rows in others' tests: ``request_id``, ``call_type``,
    ``model``, ``model_group``, ``spend`` (USD), ``prompt_tokens``, ``completion_tokens``, ``status``, ``cache_hit``,
    ``metadata``, ``messages``, ``response``, ``proxy_server_request``; the last four are objects, or JSON in a text.
    LiteLLM has no score of its own: it stands where the user's requests or a join put it. Prompts are logged with
    ``store_prompts_in_spend_logs: true`` alone, in newer versions under ``proxy_server_request``. Not seen: a whole
    export.

    A prompt is its last user turn. Each was sent to whom the caller or LiteLLM's router chose: observational.

    Args:
        score: where the score stands, ``metadata.spend_logs_metadata.rating``; None looks for ``score`` in the row and
            in its metadata.
        member: what a member is called: ``model``, or ``model_group``, the name that callers give.
        category: where a prompt's category stands, a dotted path; None for none.
    """

    patterns = PATTERNS
    observational = True

    def __init__(
        self, score: str | None = None, member: Literal["model", "model_group"] = "model", category: str | None = None
    ) -> None:
        self._scores = _SCORES if score is None else (score,)
        self._given, self._member, self._category = score, member, category

    def reward_name(self) -> str:
        """The last part of where the score stands."""
        return self._scores[0].rpartition(".")[2]

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row a request that asked for a completion."""
        requests, scored = Requests(), False
        for file in files:
            members: set[str] = set()
            for found in exported(file, ledger):
                try:
                    row = self._row(found.values, requests, ledger)
                except Misread as wrong:
                    ledger.fault(wrong.reason, f"{found.place}: {wrong.detail}")
                    continue
                if row is not None:
                    scored = scored or row["reward"] is not None
                    members.add(row["model"])
                    yield requests.numbered(row)
            if members:
                ledger.origin(file, members, harness="LiteLLM", metric=self._given or "score")
        if not scored and not ledger.faults:
            looked = ", ".join(self._scores)
            raise ErpError(
                f"source.score = {self._given or 'null'}: no request has a score at {looked}; name where it stands, "
                "source.score=metadata.spend_logs_metadata.<name>"
            )

    def _row(self, values: Record, requests: Requests, ledger: Ledger) -> Row | None:
        request, kind = label(values, "request_id"), maybe_text(values, "call_type")
        if kind is not None and kind not in _COMPLETIONS:
            ledger.leave_out(f"calls of another kind: {kind}")
            return None
        if not requests.is_new(request, ledger):
            return None
        prompt = _prompt(values)
        if _CUT.search(prompt):
            ledger.leave_out("prompts that LiteLLM cut")
            return None
        response, finish = answered(values.get("response"))
        tokens = values.get("completion_tokens")
        category = None if self._category is None else at(values, self._category)
        row: Row = {
            "prompt": prompt,
            "model": text(values, self._member),
            "category": category if isinstance(category, str) and category.strip() else None,
            "reward": None,
            "response": response,
            "finish_reason": finish,
            "prompt_tokens": values.get("prompt_tokens"),
            "completion_tokens": tokens,
            "cost_usd": known_cost(values.get("spend"), tokens not in (None, 0, "0"), ledger),
        }
        status = maybe_text(values, "status") or at(values, "metadata.status")
        if status == "failure":
            return {**row, "error": "the request failed"}
        score = next((value for path in self._scores if not is_missing(value := at(values, path))), None)
        return {**row, "unscored": "no score"} if score is None else {**row, "reward": score}


def _prompt(values: Record) -> str:
    for key in ("messages", "proxy_server_request"):
        stored = parsed(values.get(key))
        if stored not in (None, "", {}, []):
            return asked(stored, key)
    raise Misread("no prompt is stored", "set store_prompts_in_spend_logs: true in LiteLLM's general_settings")
