"""Training's metrics, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.loggers import Logger


class Metrics(Logger):
    """Hands Lightning's metrics on. Lightning's own W&B logger would let a dead W&B end the training."""

    def __init__(self, log: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._log = log

    @property
    def name(self) -> str:
        """Of the logger."""
        return "wandb"

    @property
    def version(self) -> None:
        """The run folder says which run it is."""
        return

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row; Lightning has put the epoch in."""
        self._log({**metrics, "trainer/global_step": step})

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the config is there already."""
