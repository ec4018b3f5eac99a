"""What a backbone learnt from the train prompts, kept on disk: the runs of a sweep learn it once."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from erp.backbones.base import Backbone, FittedBackbone
from erp.backbones.cache import named
from erp.backbones.store import remove
from erp.files import locked, replacing

_DIGEST_BYTES = 32


def fit_once(backbone: Backbone, prompts: Sequence[str], cache: Path) -> dict[str, Any]:
    """Let a backbone learn from the train prompts, or take up what one of its recipe learnt from the same before.

    Runs that need the same wait for the first. What was kept and is damaged is learnt again, which is said in a line.

    Returns:
        Its state; nothing for a backbone that does not learn.

    Raises:
        ErpError: the cache cannot be read or written, or the backbone cannot learn from these prompts.
    """
    if not isinstance(backbone, FittedBackbone):
        return {}
    if (recipe := backbone.recipe()) is None:
        backbone.fit(prompts)
        return backbone.state()
    file = cache / "fitted" / f"{_name(recipe, prompts)}.bin"
    with named(cache, "read", "check who may read it,"):
        state = _kept(file)
    if state is None:
        with named(cache, "written", "make room there"), locked(file):
            state = _kept(file)  # another process may have learnt it meanwhile
            if state is None:
                if file.exists():
                    tqdm.write(f"{file}: was damaged; what it held is learnt again", file=sys.stderr)
                    remove(file)
                backbone.fit(prompts)
                _keep(file, backbone.state())
                return backbone.state()
    backbone.restore(state)
    return backbone.state()


def _name(recipe: str, prompts: Sequence[str]) -> str:
    content = hashlib.sha256(recipe.encode())
    for prompt in sorted(prompts):
        content.update(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest())
    return content.hexdigest()[:32]


def _keep(file: Path, state: Mapping[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    with replacing(file) as temporary:
        temporary.write_bytes(hashlib.sha256(stream.getvalue()).digest() + stream.getvalue())


def _kept(file: Path) -> dict[str, Any] | None:
    """The state in a file; None where there is none, or not what was written."""
    content = file.read_bytes() if file.is_file() else b""
    digest, saved = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(saved).digest() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(saved), weights_only=True)
    return state
