"""A moving average of the weights, which is what is validated and kept."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


class Averaged(pl.Callback):
    """Validate and keep ``a <- d a + (1 - d) w`` over the steps' weights w (Polyak and Juditsky 1992, Ruppert 1988).

    Minibatches, and noise on the inputs, leave the weights of a step beside the optimum that they wander about; which
    of them has the least loss on a small validation part is luck. Early, ``d`` is (1 + n) / (10 + n) after n steps, so
    that where training began is soon forgotten.

    From validation until the next epoch begins the module holds the average, so that who saves it saves that.
    Lightning's own averages copy the whole module, before its references are fitted.

    Args:
        decay: d, what a step leaves of the average.
    """

    def __init__(self, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self._other: list[Tensor] | None = None  # the average while steps are taken, the weights while it is in place

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Go on from the weights of the last step."""
        del trainer
        if self._other is None:
            self._other = [weights.detach().clone() for weights in module.parameters()]
        else:
            self._exchange(module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Take a step into the average."""
        del trainer
        assert self._other is not None
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for average, weights in zip(self._other, module.parameters(), strict=True):
                average.lerp_(weights, 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the average in place."""
        del trainer
        self._exchange(module)

    def _exchange(self, module: pl.LightningModule) -> None:
        assert self._other is not None
        with torch.no_grad():
            for at, weights in enumerate(module.parameters()):
                mine = weights.detach().clone()
                weights.copy_(self._other[at])
                self._other[at] = mine

    def state_dict(self) -> dict[str, Any]:
        """Between epochs: the weights of the last step, and how many there were."""
        return {"steps": self._steps, "weights": self._other}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; the module has loaded the average."""
        self._steps, self._other = state_dict["steps"], state_dict["weights"]
