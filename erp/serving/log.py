"""The decision log: a line of JSON for each request and each feedback, in parts of bounded size."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from erp.config.serve import Log
from erp.errors import ErpError
from erp.files import jsonable
from erp.formats.decision_log import DECISION_LOG

_BLOCK = 1 << 16
_PARTS = (
    f"{'[0-9]' * 8}T{'[0-9]' * 6}.{'[0-9]' * 6}Z-{'[0-9a-f]' * 8}.ndjson"  # no other file that lies there is touched
)

logger = logging.getLogger(__name__)


class DecisionLog:
    """Writes decisions and feedback.

    Every line is whole: it is written at once, and what a killed worker left of its last one is cut off when the next
    worker starts. Each worker has parts of its own, held by a lock while it lives. A disk that fails stops no request:
    the line is lost, and ``lost`` counts.

    A decision has ``id``, ``time`` (seconds since 1970), ``prompt`` (kept only if the log's options say so; its
    SHA-256 always), ``category`` (as given), ``rewards`` and ``costs`` (predicted, by member), ``lambda``, ``chosen``
    (the decision's member), ``order`` (all that could answer), ``path``, ``propensity`` (of ``chosen``), ``answered``
    (the member whose answer was passed on; null for none), ``model`` (as the upstream calls it), ``status``,
    ``prompt_tokens``, ``completion_tokens`` (as reported), ``cost_usd`` (as spend counts it: by length where no tokens
    are reported), ``latency_ms``, ``first_byte_ms``. What is not known is null or left out.

    Where answers are judged before one is sent, ``asked`` is a list of them in order (``member``, ``reward`` as the
    judge gave it, ``model``, tokens and ``cost_usd`` as above), ``judge_usd`` is what the judge cost, and
    ``propensity`` is null: which answer is sent depends on how good they were.

    Args:
        log: where, what, and the size of a part.

    Attributes:
        lost: lines that could not be written.

    Raises:
        ErpError: the folder cannot be written to.
    """

    def __init__(self, log: Log) -> None:
        self._prompts, self._most = log.prompts, int(log.part_mb * 1e6)
        self._folder = None if log.folder is None else Path(log.folder).expanduser()
        self._part, self._path, self._size = -1, Path(), 0
        self.lost = 0
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for part in sorted(self._folder.glob(_PARTS)):
                _mend(part)
            self._begin(self._folder)  # that it can be; a part is kept from its first line on
            self.close()
        except OSError as error:
            raise ErpError(
                f"gateway.log.folder = {log.folder}: cannot be written to ({error}); give another folder, or null"
            ) from None

    def write(self, record: Mapping[str, Any]) -> None:
        """Write what became of a request."""
        if self._folder is None:
            return
        prompt = record.get("prompt")
        kept = {key: value for key, value in record.items() if key != "prompt" or self._prompts}
        if prompt is not None:
            kept["prompt_sha256"] = hashlib.sha256(str(prompt).encode("utf-8", "surrogatepass")).hexdigest()
        self._line(DECISION_LOG.numbered({"kind": "decision", **kept}))

    def feedback(self, id: str, reward: float) -> None:
        """Write what an answer turned out to be worth; the last word on an id counts."""
        if self._folder is not None:
            self._line(DECISION_LOG.numbered({"kind": "feedback", "id": id, "time": time.time(), "reward": reward}))

    def close(self) -> None:
        """End the part; one without a line is taken away."""
        if self._part >= 0:
            if self._size == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._part)
        self._part = -1

    def _line(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(jsonable(record), allow_nan=False, separators=(",", ":"), default=str).encode() + b"\n"
        try:
            if self._part < 0 or (self._size > 0 and self._size + len(line) > self._most):
                self._begin(Path(self._folder or "."))
            written = os.write(self._part, line)
            if written == len(line):
                self._size += written
            else:
                self._lose("the disk is full")
        except OSError as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if not self.lost:
            logger.warning("gateway.log.folder = %s: a line is lost (%s)", self._folder, why)
        self.lost += 1
        if self._part >= 0:
            with suppress(OSError):
                os.ftruncate(self._part, self._size)

    def _begin(self, folder: Path) -> None:
        """A new part, whose name sorts behind those before it."""
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.ndjson"
        part = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        fcntl.flock(part, fcntl.LOCK_EX)
        self.close()
        self._part, self._path, self._size = part, path, 0


def _mend(path: Path) -> None:
    """Cut off what follows the last line of a part, unless a worker is writing it."""
    with path.open("r+b") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        size = end = part.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            part.seek(start)
            if (last := part.read(end - start).rfind(b"\n")) >= 0:
                end = start + last + 1
                break
            end = start
        if end < size:
            part.truncate(end)
