"""One LightningModule that trains and tests any router."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from erp.backbones.base import Backbone, Trainable, trains
from erp.errors import ErpError
from erp.metrics.streaming import MaskedR2
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.category_mean import CategoryMean
from erp.routers.classifier import CategoryClassifier
from erp.routers.losses import masked_squared_error
from erp.routers.ridge import Ridge
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.training.data import RoutingData, RoutingDataModule


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself: plain values only, enough to build the router again without its table.

    Attributes:
        router, backbone, policy: the config nodes they are built from.
        members: pool members, in the order of the scores' columns.
        categories: those seen in training, in the order of their codes.
        dimension: length of an embedding.
        reward_model: whose scores are predicted.
        cost_kind, cost_unit: what the predicted costs are measured in.
        category: what a router that reads it gets to see: the ``given`` one, or one ``predicted`` from the embedding.
        predict_cost: whether costs are predicted prompt by prompt (CARROT, 2502.03261), or are the train means.
        category_block: weight of a block of category indicators behind the embedding; 0 for none.
        policy_state: what the policy learnt after training.
        backbone_state: what a fitted backbone learnt from the train prompts.
        prompt_from: what is asked of a conversation.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    router: dict[str, Any]
    backbone: dict[str, Any]
    policy: dict[str, Any]
    members: tuple[str, ...]
    categories: tuple[str, ...]
    dimension: int
    reward_model: str
    cost_kind: str
    cost_unit: str
    category: str = "given"
    predict_cost: bool = False
    category_block: float = 0.0
    policy_state: dict[str, Any] = field(default_factory=dict)
    backbone_state: dict[str, Any] = field(default_factory=dict)
    prompt_from: PromptFrom = DEFAULT_RULE

    @property
    def dimensions(self) -> Dimensions:
        """Sizes for the router."""
        block = len(self.categories) if self.category_block > 0 else 0
        return Dimensions(self.dimension + block, len(self.members), len(self.categories))

    def plain(self) -> dict[str, Any]:
        """As it stands in the checkpoint."""
        return {**asdict(self), "members": list(self.members), "categories": list(self.categories)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Card:
        """As it was before ``plain``. Raises ValidationError: a value is missing, unknown or of another type."""
        return TypeAdapter(cls).validate_python(values)


class RoutingModule(pl.LightningModule):
    """Any router under one ``fit``, ``validate``, ``test`` and one checkpoint format.

    A closed-form router is solved before the first validation, so that the checkpoint holds the solved one. Fitted
    beside it: the train means of reward and cost, the category means and a classifier of categories, which every report
    needs, and a ridge on costs where they are predicted.

    A backbone that is to be fine-tuned has its encoder here, trained by the router's loss and saved with it. While
    ``fit`` runs, embeddings are what the encoder makes of the prompts just then; at any other time they are those of
    the data, which have to be made anew once it is trained (`erp.training.finetuning.settled`).

    Args:
        router: prepared for the card's dimensions here.
        card: goes into the checkpoint.
        learning_rate: of AdamW, for routers with a loss.
        weight_decay: of AdamW.
        backbone: where the embeddings come from; needed where it is fine-tuned.
    """

    train_mean_reward: Tensor
    train_mean_cost: Tensor

    def __init__(
        self,
        router: Router,
        card: Card,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.card = card
        self.router = router
        self.router.prepare(card.dimensions)
        self.category_mean = CategoryMean()
        self.category_mean.prepare(card.dimensions)
        self.classifier = CategoryClassifier()
        self.cost_model = Ridge() if card.predict_cost else None
        members = len(card.members)
        self.register_buffer("train_mean_reward", torch.full((members,), torch.nan, dtype=torch.float64))
        self.register_buffer("train_mean_cost", torch.full((members,), torch.nan, dtype=torch.float64))
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.backbone = backbone
        # After the router, which so starts from the same numbers with and without it.
        self.encoder = backbone.encoder() if isinstance(backbone, Trainable) and trains(backbone) else None
        # Without a loss there is nothing for Lightning to step: its optimisation loop is only passed through.
        self.automatic_optimization = not router.closed_form
        self.validation_r2 = MaskedR2(members)
        self._seen: list[Tensor] = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the card in."""
        checkpoint["card"] = self.card.plain()

    def on_fit_start(self) -> None:
        """Fit the references, and a closed-form router."""
        data = self._datamodule()
        self.fit_references(data)
        train = data.loader(data.data.split.train)
        if self.router.closed_form:
            self.router.fit(_Shown(train, self.widened), _Shown(data.val_dataloader(), self.seen))
        else:
            self.router.begin(_Shown(train, self.widened))
        if self.encoder is not None:
            self.encoder.train()  # Lightning leaves it as it came: for reading, without dropout

    def fit_references(self, data: RoutingDataModule) -> None:
        """Fit what stands beside the router on the embeddings of the data."""
        train = data.loader(data.data.split.train)
        self.train_mean_reward.copy_(torch.from_numpy(member_means(data.data.targets.mean[data.data.split.train])))
        self.train_mean_cost.copy_(torch.from_numpy(data.data.costs.mean))
        self.category_mean.fit(train, ())
        if self.card.categories:
            self.classifier.fit(train, data.val_dataloader(), len(self.card.categories))
        if self.cost_model is not None:
            self.cost_model.fit(_Costs(train, data.data), _Costs(data.val_dataloader(), data.data))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What dropout and the like draw follows from seed, epoch and batch alone, as does the order of the batches."""
        del batch
        key = [self._datamodule().seed, self.current_epoch, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """The router's loss; nothing for a closed form."""
        del batch_index
        if self.router.closed_form:
            return None
        loss = self.router.loss(replace(batch, features=self.widened(self.current(batch.features, batch.rows))))
        self.log("train/loss", loss, batch_size=len(batch.rows), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log what early stopping watches: the router's own loss, or squared error for a closed form."""
        del batch_index
        guessed = self.guessed(batch.features)  # the classifier knows the embeddings of the data
        features = self.current(batch.features, batch.rows)
        scores = self.router.scores(self.widened(replace(guessed, embedding=features.embedding)))
        loss = (
            masked_squared_error(scores, batch.rewards)
            if self.router.closed_form
            else self.router.loss(replace(batch, features=self.widened(features)))
        )
        self.log("val/loss", loss, batch_size=len(batch.rows), prog_bar=True)
        self.validation_r2.update(scores, batch.rewards)
        self._seen.append(scores)

    def current(self, features: Features, rows: Tensor) -> Features:
        """The features of some rows; while an encoder is trained, with the embeddings that it makes of them now."""
        if self.encoder is None or self.trainer.state.fn != TrainerFn.FITTING:
            return features
        return replace(features, embedding=self.encoder(self._datamodule().prompts(rows.cpu().numpy())))

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last epoch."""
        self._seen.clear()

    def on_validation_epoch_end(self) -> None:
        """Log R^2, for scores in reward units."""
        if self.router.scale == "reward":
            r2 = self.validation_r2.compute()
            self.log("val/r2", torch.nan_to_num(torch.nanmean(r2), nan=0.0))
        self.validation_r2.reset()

    def on_test_epoch_start(self) -> None:
        """Forget earlier scores."""
        self._seen.clear()

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the scores: the report is made from all of them at once."""
        del batch_index
        self._seen.append(self.router.scores(self.seen(batch.features)))

    def seen(self, features: Features) -> Features:
        """What the router gets to see outside training. Raises ErpError where it was made for other vectors."""
        if (found := features.embedding.shape[1]) != (read := self.card.dimension):
            raise ErpError(f"checkpoint: is for vectors of {read} numbers, not of {found}; train the run again")
        return self.widened(self.guessed(features))

    def widened(self, features: Features) -> Features:
        """With a block of category indicators behind the embedding, all 0 where the category is unknown."""
        if self.card.category_block == 0:
            return features
        codes = torch.arange(len(self.card.categories), device=features.category.device)
        block = self.card.category_block * (features.category[:, None] == codes)
        return replace(features, embedding=torch.cat([features.embedding, block.to(features.embedding.dtype)], dim=1))

    def guessed(self, features: Features) -> Features:
        """With predicted categories, those in place of the given ones."""
        if self.card.category == "given" or not self.card.categories:
            return features
        return Features(features.embedding, self.classifier.codes(features.embedding))

    def predicted_costs(self, embedding: Tensor) -> Tensor:
        """What the decision rule takes each answer to cost: (M,) train means, or (B, M) predictions, none below 0."""
        if self.cost_model is None:
            return self.train_mean_cost
        return self.cost_model.scores(Features(embedding, torch.empty(0))).clamp(min=0)

    def scores(self) -> Tensor:
        """Scores of the last validation or test, (N, M) float64 on the CPU, in the order of the split's rows."""
        return torch.cat(self._seen).detach().to("cpu", torch.float64)

    def configure_optimizers(self) -> Sequence[torch.optim.Optimizer] | torch.optim.Optimizer:
        """AdamW over the router's parameters, and the encoder's at rates of its own; none for a closed form."""
        if self.router.closed_form:
            return []
        groups = [{"params": list(self.router.parameters()), "lr": self.learning_rate}]
        if self.encoder is not None:
            groups += self.encoder.groups()
        return torch.optim.AdamW(groups, weight_decay=self.weight_decay)

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


class _Costs:
    """Batches whose rewards are costs, where measured: the member's mean, which stands elsewhere, teaches nothing."""

    def __init__(self, batches: Iterable[Batch], data: RoutingData) -> None:
        self._batches = batches
        self._costs = torch.from_numpy(np.where(data.costs.measured, data.costs.values, np.nan))

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            yield replace(batch, rewards=self._costs[batch.rows])


def member_means(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) mean reward of each member as if all had answered the same prompts.

    Least squares of reward = prompt + member over the cells that are present (n, M): a member that was scored on easier
    prompts is not taken for a better one. With no cell missing these are the column means.
    """
    rewards = rewards[~np.isnan(rewards).all(axis=1)]
    present = ~np.isnan(rewards)
    per_prompt = present.sum(axis=1)
    prompt_mean = np.where(present, rewards, 0.0).sum(axis=1) / per_prompt
    # Normal equations of the member effects, the prompts' eliminated; singular, as only differences are determined.
    system = np.diag(present.sum(axis=0)) - (present / per_prompt[:, None]).T @ present
    right = np.where(present, rewards - prompt_mean[:, None], 0.0).sum(axis=0)
    effect = np.linalg.pinv(system, rcond=1e-9, hermitian=True) @ right
    # The mean over prompts of prompt + member effect.
    prompt_effect = prompt_mean - (present @ effect) / per_prompt
    return np.asarray(prompt_effect.mean() + effect)
