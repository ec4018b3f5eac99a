"""Whether two pieces of mathematics say the same, by math-verify, in a process that is ended if it takes too long."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path

from erp.errors import ErpError

_WORKER = Path(__file__).with_name("mathematics_worker.py")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_WORD = re.compile(r"(?<![\\\w{])[^\W\d_]{3,}(?!\w|\()")
_WORDS = re.compile(r"[^\W\d_]{3,}(?:[ -][^\W\d_]+)*")


class Mathematics:
    """Compares. The process starts at the first question.

    Args:
        timeout_s: seconds for one comparison.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None

    def reads(self, reference: str) -> bool:
        """Whether a reference is a word, or can be read as mathematics. Prose is neither."""
        return words(reference) is not None or not (_prose(reference) or self._ask(reference, None) == "null")

    def same(self, reference: str, answer: str) -> bool | None:
        """Whether they say the same; None where that took too long. ValueError: the reference cannot be read."""
        wanted = words(reference)
        if wanted is not None:
            return _plain(answer) == wanted
        said = "null" if _prose(reference) else self._ask(reference, answer)
        if said == "null":
            raise ValueError(reference)
        return said == "true" if said else None

    def _ask(self, reference: str, answer: str | None) -> str:
        """The worker's word; nothing where it did not come in time."""
        process = self._process if self._process is not None and self._process.poll() is None else self._start()
        timer = threading.Timer(self.timeout_s, process.kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([reference, answer]) + "\n")
            process.stdin.flush()
            said = process.stdout.readline().strip()
        except OSError:
            said = ""
        finally:
            timer.cancel()
        if not said:  # ended by the timer, or out of memory
            self.close()
        return said

    def _start(self) -> subprocess.Popen[str]:
        if importlib.util.find_spec("math_verify") is None:
            raise ErpError("reward_model = verifier_math: needs the package math-verify; pip install 'erp[math]'")
        self.close()
        # -P: the worker's own folder is no place to import from
        process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._process, self._end = process, weakref.finalize(self, _end, process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise ErpError(
                "reward_model = verifier_math: math-verify does not start; see python -c 'import math_verify'"
            )
        return process

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process = None
            self._end()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was never sent
                continue


def words(text: str) -> str | None:
    r"""The words that a text is, in small letters; None where it may be mathematics: \text{Even}, but not ab or x."""
    plain = _plain(text)
    return plain if _WORDS.fullmatch(plain) or (_TEXT.search(text) and plain.isalpha()) else None


def _plain(text: str) -> str:
    return " ".join(_TEXT.sub(r"\1", text).strip(" .*()$").split()).casefold()


def _prose(text: str) -> bool:
    return len(_WORD.findall(_TEXT.sub("", text))) > 1
