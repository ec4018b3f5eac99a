"""The one LightningModule that trains any router."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from erp.metrics.streaming import MaskedR2
from erp.routers.base import Batch, Features
from erp.routers.losses import masked_squared_error
from erp.trained.bundle import Bundle
from erp.training.datamodule import RoutingDataModule
from erp.training.references import fit_references


class RoutingModule(pl.LightningModule):
    """Any bundle under one ``fit``, with validation after each epoch. Once trained, the bundle needs it no more.

    A closed-form router is solved before the first validation, so that the checkpoint holds the solved one.

    A backbone that is to be fine-tuned has its encoder in the bundle, trained by the router's loss. Here embeddings are
    what the encoder makes of the prompts just then; at any other time they are those of the data, which have to be made
    anew once it is trained (`erp.training.finetuning.settled`).

    Args:
        bundle: what is trained.
        learning_rate: of AdamW, for routers with a loss.
        weight_decay: of AdamW.
    """

    def __init__(self, bundle: Bundle, learning_rate: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.bundle = bundle
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        # Without a loss there is nothing for Lightning to step: its optimisation loop is only passed through.
        self.automatic_optimization = not bundle.router.closed_form
        self.validation_r2 = MaskedR2(len(bundle.card.members))

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """The bundle's: what is learnt in training is all there."""
        return self.bundle.state_dict(*args, **options)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """The bundle's."""
        return self.bundle.load_state_dict(state_dict, *args, **options)

    def on_fit_start(self) -> None:
        """Fit the references, and a closed-form router."""
        data, bundle = self._datamodule(), self.bundle
        fit_references(bundle, data)
        train = data.learnt()
        if bundle.router.closed_form:
            bundle.router.fit(_Shown(train, bundle.widened), _Shown(data.val_dataloader(), bundle.seen))
        else:
            bundle.router.begin(_Shown(train, bundle.widened))
        if bundle.encoder is not None:
            bundle.encoder.train()  # Lightning leaves it as it came: for reading, without dropout

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What dropout and the like draw follows from seed, epoch and batch alone, as does the order of the batches."""
        del batch
        key = [self._datamodule().seed, self.current_epoch, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """The router's loss; nothing for a closed form."""
        del batch_index
        router = self.bundle.router
        if router.closed_form:
            return None
        loss = router.loss(self._with(batch, self._current(batch)))
        self.log("train/loss", loss, batch_size=len(batch.rows), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log what early stopping watches: the router's own loss, or squared error for a closed form."""
        del batch_index
        bundle, router = self.bundle, self.bundle.router
        guessed = bundle.guessed(batch.features)  # the classifier knows the embeddings of the data
        features = self._current(batch)
        scores = router.scores(bundle.widened(replace(guessed, embedding=features.embedding)))
        loss = (
            masked_squared_error(scores, batch.rewards)
            if router.closed_form
            else router.loss(self._with(batch, features))
        )
        self.log("val/loss", loss, batch_size=len(batch.rows), prog_bar=True)
        self.validation_r2.update(scores, batch.rewards)

    def on_validation_epoch_end(self) -> None:
        """Log R^2, for scores in reward units."""
        if self.bundle.router.scale == "reward":
            r2 = self.validation_r2.compute()
            self.log("val/r2", torch.nan_to_num(torch.nanmean(r2), nan=0.0))
        self.validation_r2.reset()

    def configure_optimizers(self) -> Sequence[torch.optim.Optimizer] | torch.optim.Optimizer:
        """AdamW over the router's parameters, and the encoder's at rates of its own; none for a closed form."""
        bundle = self.bundle
        if bundle.router.closed_form:
            return []
        groups = [{"params": list(bundle.router.parameters()), "lr": self.learning_rate}]
        if bundle.encoder is not None:
            groups += bundle.encoder.groups()
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)

    def _current(self, batch: Batch) -> Features:
        """The features of a batch; where an encoder is trained, with the embeddings that it makes of them now."""
        if self.bundle.encoder is None:
            return batch.features
        prompts = self._datamodule().prompts(batch.rows.cpu().numpy())
        return replace(batch.features, embedding=self.bundle.encoder(prompts))

    def _with(self, batch: Batch, current: Features) -> Batch:
        """A batch as the router's loss gets it: with these features, and the vectors of an encoder before training."""
        features = self.bundle.widened(current)
        if self.bundle.encoder is None:
            return replace(batch, features=features)
        return replace(batch, features=features, released=self.bundle.widened(batch.features).embedding)

    def _datamodule(self) -> RoutingDataModule:
        module = self.trainer.datamodule  # type: ignore[attr-defined]  # set by trainer.fit(datamodule=...)
        assert isinstance(module, RoutingDataModule)
        return module


class _Shown:
    """Batches as a router gets to see them: what is chosen on validation is chosen for what it will see at test."""

    def __init__(self, batches: Iterable[Batch], show: Callable[[Features], Features]) -> None:
        self._batches, self._show = batches, show

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            yield replace(batch, features=self._show(batch.features))
