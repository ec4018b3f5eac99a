"""A process of its own that reads and compares mathematics, so that whoever asks can end it: algebra may take forever.

Run as a file: a line ``[reference, answer]`` comes in, a line ``true`` or ``false`` goes out, or ``null`` where the
reference cannot be read. Without an answer (null) this alone is asked. The first line out says that it is ready.
"""

from __future__ import annotations

import json
import re
import sys
from functools import lru_cache
from typing import Any

import math_verify

MEMORY = 4 * 2**30  # bytes
_MARKED = re.compile(r"\$[^$]+\$|\\\(.+\\\)|\\\[.+\\\]|\\boxed\{", re.DOTALL)


@lru_cache(maxsize=64)
def read(text: str) -> list[Any]:
    """What the LaTeX in a text says, or the text where it marks none; empty where it cannot be read."""
    marked = text if _MARKED.search(text) else f"${text}$"
    found: list[Any] = math_verify.parse(
        marked, [math_verify.LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return found


def judge(reference: str, answer: str | None) -> bool | None:
    """Whether they say the same; None where the reference says nothing."""
    right = read(reference)
    if not right or answer is None:
        return True if right else None
    return bool(math_verify.verify(right, read(answer), timeout_seconds=None))


def main() -> None:
    """Answer line by line until there are no more."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    sys.stdout.write("true\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(judge(*json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
