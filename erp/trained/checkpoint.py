"""A bundle in a file, or in the folder that `erp export` writes, and out of it again."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from erp.backbones.base import build_backbone
from erp.build import build
from erp.config.resolved import require_resolved
from erp.errors import ErpError
from erp.files import replacing
from erp.formats.checkpoint import CHECKPOINT
from erp.formats.renamed import with_new_targets
from erp.routers.base import Features, Router
from erp.trained.bundle import Bundle
from erp.trained.card import Card
from erp.trained.exported import TENSORS, read_exported, write_exported


def save_bundle(bundle: Bundle, checkpoint: Path) -> None:
    """Write what `load_bundle` opens: all of it, or what was there before stays.

    Args:
        bundle: what is saved.
        checkpoint: the file; one that is called ``router.safetensors`` gets its ``config.json`` beside it.
    """
    content = CHECKPOINT.numbered({"card": bundle.card.plain(), "state_dict": bundle.state_dict()})
    if checkpoint.name == TENSORS:
        write_exported(content, checkpoint)
        return
    with replacing(checkpoint) as temporary:
        torch.save(content, temporary)


def load_bundle(checkpoint: Path, trust: bool = False, weights_dir: str | None = None) -> Bundle:
    """The bundle as it was saved, for use. Tensors and plain values are read, and no code runs.

    A fine-tuned encoder is built from its released files, which have to be there, and takes the saved weights.

    Args:
        checkpoint: the file that `save_bundle` wrote.
        trust: also build classes outside ``erp`` that the file names.
        weights_dir: where the backbone's weights may lie.

    Raises:
        ErpError: on a file that is no checkpoint of ours, one that names foreign code, or files that are nowhere.
    """
    try:
        if checkpoint.name == TENSORS:
            saved = read_exported(checkpoint)
        else:
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        content = CHECKPOINT.read(saved, f"checkpoint = {checkpoint}")
        card = Card.from_plain(with_new_targets(content["card"]))
        state = content["state_dict"]
    except ErpError:
        raise
    except Exception as error:  # a damaged file can make its reader raise anything
        raise _unreadable(checkpoint, error) from None
    nodes = {"router": card.router, "backbone": card.backbone, "policy": card.policy}
    require_resolved(nodes, f"checkpoint = {checkpoint}", "restore the file, or train the run again")
    router = build(card.router, Router, key="router", trust=trust)
    bundle = Bundle(card, router, build_backbone(card.backbone, weights_dir, trust))
    try:
        bundle.load_state_dict(state)
        _try(bundle.eval())
    except (RuntimeError, TypeError, AttributeError, LookupError, ValueError) as error:
        raise _unreadable(checkpoint, error) from None
    return bundle


def _try(bundle: Bundle) -> None:
    """Score a prompt of no words: what was saved fits together. Raises ValueError, or what torch raises."""
    nothing = Features(torch.zeros(1, bundle.card.dimension), torch.tensor([-1]))
    with torch.no_grad():
        found = bundle.scores(nothing), bundle.predicted_costs(nothing.embedding)[None]
        if bundle.card.categories:
            bundle.classifier.codes(nothing.embedding)
    if any(part.shape[-1] != len(bundle.card.members) for part in found):
        raise ValueError(f"it does not score its {len(bundle.card.members)} members")


def _unreadable(checkpoint: Path, error: Exception) -> ErpError:
    # torch goes on for paragraphs, about options of its own that do not exist here
    reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:120]
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, ('card', *first['loc'])))}: {first['msg']}"
    return ErpError(f"checkpoint = {checkpoint}: cannot be read ({reason}); restore the file, or train the run again")
