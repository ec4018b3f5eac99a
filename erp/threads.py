"""How many threads a computation takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

FEW = 16
"""Prompts that one thread reads about as soon as several, which have to be woken and wait for the last of them."""


@contextmanager
def threads_for(prompts: int) -> Iterator[None]:
    """Let torch take one thread for a few prompts: a core that is busy with something else then delays nobody."""
    torch = sys.modules.get("torch")  # without it, nothing here is computed by it
    if torch is None or prompts >= FEW or (threads := torch.get_num_threads()) == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
