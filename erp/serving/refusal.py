"""What the gateway itself answers where it cannot serve a request: OpenAI's form of an error."""

from __future__ import annotations

import json
import math

SCHEMA = "1"
"""Form of the ``x-erp-`` headers and of ``/route``; another number where one of them means something else."""


class Refusal(Exception):  # noqa: N818  # an answer, and no fault of ours
    """An answer in place of a member's.

    Args:
        status: of HTTP.
        code: a word for programs.
        message: a sentence for people.
        after_s: when to come back; None where that does not help.
    """

    def __init__(self, status: int, code: str, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.after_s = after_s

    @property
    def headers(self) -> dict[str, str]:
        """What stands in the answer's head."""
        more = {} if self.after_s is None else {"retry-after": str(max(1, math.ceil(self.after_s)))}
        return {"content-type": "application/json", "x-erp-schema": SCHEMA, **more}

    @property
    def body(self) -> bytes:
        """As OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "gateway_error"
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


def unfit(message: str) -> Refusal:
    """A request that says what cannot be done."""
    return Refusal(400, "invalid_request", message)
