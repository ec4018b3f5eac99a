"""A bundle in a file, or in the folder that `erp export` writes, and out of it again."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from erp.backbones.base import build_backbone
from erp.build import build
from erp.files import replacing
from erp.formats.checkpoint import CHECKPOINT
from erp.routers.base import Router
from erp.trained.bundle import Bundle
from erp.trained.exported import TENSORS, read_exported, write_exported
from erp.trained.model import card_and_state, readable, require_whole


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
    with readable(checkpoint):
        if checkpoint.name == TENSORS:
            saved = read_exported(checkpoint, load_file)
        else:
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        card, state = card_and_state(saved, checkpoint)
    router = build(card.router, Router, key="router", trust=trust)
    bundle = Bundle(card, router, build_backbone(card.backbone, weights_dir, trust))
    with readable(checkpoint):
        bundle.load_state_dict(state)
        require_whole(bundle.eval())
    return bundle
