"""What was learnt from train prompts, kept on disk: the runs of a sweep learn it once."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from erp.backbones.base import Backbone, FittedBackbone, Keeping
from erp.backbones.store import remove
from erp.files import locked, replacing

_DIGEST_BYTES = 32


def fit_once(backbone: Backbone, prompts: Sequence[str], cache: Path) -> dict[str, Any]:
    """Let a backbone learn from the train prompts, or take up what one of its recipe learnt from the same before.

    Returns:
        Its state; nothing for a backbone that does not learn.

    Raises:
        ErpError: the backbone cannot learn from these prompts.
    """
    if not isinstance(backbone, FittedBackbone):
        return {}
    if isinstance(backbone, Keeping):
        backbone.keep_in(cache)

    def learn() -> dict[str, Any]:
        backbone.fit(prompts)
        return backbone.state()

    if (recipe := backbone.recipe()) is None:
        return learn()
    backbone.restore(learnt_once(_name(recipe, prompts), learn, cache))
    return backbone.state()


def learnt_once(name: str, learn: Callable[[], dict[str, Any]], cache: Path) -> dict[str, Any]:
    """What was learnt, tensors and plain values, from the cache or else learnt now and kept.

    Runs that need the same wait for the first. What was kept and is damaged is learnt again, which is said in a line.
    Where nothing can be kept, it is learnt all the same.

    Args:
        name: names all that the result depends on: a hash.
        learn: called where nothing of the name is kept.
        cache: folder of all that is cached.
    """
    file = cache / "fitted" / f"{name[:32]}.bin"
    state = _kept(file)
    if state is not None:
        return state
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(file))
        state = _kept(file)  # another process may have learnt it meanwhile
        if state is None:
            state = learn()
            with suppress(OSError):
                _keep(file, state)
    return state


def block_widths(backbone: Backbone, cache: Path) -> dict[str, int]:
    """The blocks of a backbone that has learnt what it learns; those of one that has to be asked are kept."""
    name = hashlib.sha256(f"blocks {backbone.fingerprint()} {backbone.layout()}".rstrip().encode()).hexdigest()
    return learnt_once(name, backbone.blocks, cache)


def _name(recipe: str, prompts: Sequence[str]) -> str:
    content = hashlib.sha256(recipe.encode())
    for prompt in sorted(prompts):
        content.update(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest())
    return content.hexdigest()


def _keep(file: Path, state: Mapping[str, Any]) -> None:
    if file.exists():
        tqdm.write(f"{file}: was damaged; what it held is learnt again", file=sys.stderr)
        remove(file)
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    with replacing(file) as temporary:
        temporary.write_bytes(hashlib.sha256(stream.getvalue()).digest() + stream.getvalue())


def _kept(file: Path) -> dict[str, Any] | None:
    """The state in a file; None where there is none that can be read, or not what was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, saved = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(saved).digest() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(saved), weights_only=True)
    return state
