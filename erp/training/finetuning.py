"""A backbone that is fine-tuned: what is made anew once it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from erp.backbones.cache import cached_embeddings
from erp.trained.bundle import Bundle
from erp.trained.checkpoint import save_bundle
from erp.training.datamodule import RoutingDataModule
from erp.training.references import fit_references


def settled(
    bundle: Bundle, datamodule: RoutingDataModule, checkpoint: Path, cache: Path, progress: bool = True
) -> RoutingDataModule:
    """After training: embeddings of all prompts by the encoder as it is now, and the references fitted on them.

    The embeddings are cached under the hash of the trained weights, so that ``erp evaluate`` finds them. The references
    (the classifier of categories and the predicted costs read embeddings) go into the checkpoint; what a training that
    goes on would need is deleted. Without a fine-tuned encoder there is nothing to do.

    Args:
        bundle: out of the checkpoint.
        datamodule: what it was trained on.
        checkpoint: rewritten.
        cache: folder of the embeddings' cache.
        progress: whether a bar is drawn.

    Returns:
        The data with those embeddings.
    """
    if bundle.encoder is None:
        return datamodule
    data = datamodule.data
    embeddings = cached_embeddings(datamodule.prompts(slice(None)), bundle.backbone, cache, progress)
    data = replace(data, embeddings=embeddings)
    tuned = RoutingDataModule(data, datamodule.batch_size, datamodule.seed, cache=cache)
    fit_references(bundle, tuned)
    save_bundle(bundle, checkpoint)
    checkpoint.with_name("last.ckpt").unlink(missing_ok=True)
    return tuned
