"""Lightning's part of a run: fit, and leave the best state behind."""

from __future__ import annotations

import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping

from erp.config import Trainer
from erp.files import replacing
from erp.trained.checkpoint import save_bundle
from erp.training.averaging import Averaged
from erp.training.datamodule import RoutingDataModule
from erp.training.module import RoutingModule

LAST = "last.ckpt"
EPOCHS = "epochs"  # what training has come to, in last.ckpt

# Advice that does not apply: batches are whole already, and the folder is the run's own.
_BESIDE_THE_POINT = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*",  # a deprecation inside Lightning
    ".*in eval mode at the start of training.*",  # parts of a closed-form router are trained, and done, by then
    ".*The number of training batches .* is smaller than the logging interval.*",
)


class Log(Protocol):
    """Takes the metrics of an epoch; ``again`` where another process made it."""

    def __call__(self, values: Mapping[str, float], *, again: bool) -> None:
        """Take one row."""


def _unheard(values: Mapping[str, float], *, again: bool) -> None:
    """Nobody keeps a copy."""


class _Epochs(Checkpoint):
    """After every epoch: its metrics are logged, and the best state and where to go on from are on the disk.

    Lightning's own ModelCheckpoint writes ``last.ckpt`` when validation improved, and absolute paths into it. A
    Checkpoint runs after early stopping, whose state is saved here too.
    """

    def __init__(self, folder: Path, log: Log) -> None:
        self._best, self._last, self._log = folder / "checkpoint.ckpt", folder / LAST, log
        self._state: dict[str, Any] = {"loss": math.inf, "stopped": False, "rows": []}

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """A training that was stopped early, and killed before its folder was done, is not trained further."""
        trainer.should_stop = self._state["stopped"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log, keep what is best so far, and then where to go on from."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {"epoch": trainer.current_epoch, "trainer/global_step": trainer.global_step}
        self._log(row, again=False)
        best = not self._state["rows"] or row["val/loss"] < self._state["loss"]
        self._state["loss"] = row["val/loss"] if best else self._state["loss"]
        self._state |= {"stopped": trainer.should_stop, "rows": [*self._state["rows"], row]}
        if best:
            assert isinstance(module, RoutingModule)
            save_bundle(module.bundle, self._best)
        with replacing(self._last) as temporary:
            trainer.save_checkpoint(temporary)

    @property
    def state_key(self) -> str:
        """What it lies under in ``last.ckpt``."""
        return EPOCHS

    def state_dict(self) -> dict[str, Any]:
        """What goes on where training does."""
        return self._state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; who keeps a copy of the epochs before is told of them again."""
        self._state = state_dict
        for row in state_dict["rows"]:
            self._log(row, again=True)


def fit(
    module: RoutingModule, datamodule: RoutingDataModule, trainer: Trainer, folder: Path, log: Log = _unheard
) -> None:
    """Train and leave the best state in ``<folder>/checkpoint.ckpt``.

    ``last.ckpt`` is of the last epoch: a killed training goes on from there, to the same numbers. With an encoder it
    stays until `settled` has made the embeddings anew, which may take long.

    A closed-form router is solved when fitting starts; one empty step and one validation follow, so that it is
    checkpointed and logged as any other.

    Args:
        module: around the bundle that is trained.
        datamodule: what it learns from.
        trainer: how routers with a loss are trained.
        folder: of the run.
        log: gets a row of metrics after each epoch, and again those of epochs that an earlier process made.
    """
    last = folder / LAST
    epochs: list[pl.Callback] = [_Epochs(folder, log)]
    averaged = [] if trainer.average is None else [Averaged(trainer.average)]
    if module.bundle.router.closed_form:  # numpy on the CPU, wherever networks are trained
        runner = _lightning(
            max_epochs=1, limit_train_batches=1, logger=False, enable_progress_bar=False, callbacks=epochs,
            default_root_dir=folder,
        )  # fmt: skip
    else:
        runner = _lightning(
            accelerator=_accelerator(trainer.accelerator), max_epochs=trainer.max_epochs, logger=False,
            callbacks=[*averaged, EarlyStopping("val/loss", patience=trainer.patience), *epochs],
            enable_progress_bar=trainer.progress, default_root_dir=folder,
        )  # fmt: skip
    with _quiet(), _interruptible():
        runner.fit(module, datamodule=datamodule, ckpt_path=_readable(last), weights_only=True)
    if module.bundle.encoder is None:
        last.unlink(missing_ok=True)


def _accelerator(asked: str) -> str:
    """``auto`` takes CUDA or the CPU: rewards are float64, which Apple's GPUs do not know."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def _readable(last: Path) -> str | None:
    """The checkpoint to go on from; None where there is none, it was damaged, or an earlier version wrote it."""
    try:
        content = torch.load(last, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file can make the unpickler raise anything
        return None
    return str(last) if EPOCHS in content.get("callbacks", {}) else None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C by ignoring the next one and leaving with exit code 1; ours is to stop, and say so."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def _lightning(**settings: Any) -> pl.Trainer:
    with _quiet():
        # One device: the report is made from all scores in one place, in the order of the rows.
        common = {"devices": 1, "num_sanity_val_steps": 0, "enable_model_summary": False, "log_every_n_steps": 1}
        return pl.Trainer(**{"accelerator": "cpu", **common, **settings})


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its banner, tips and the warnings that do not apply."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _BESIDE_THE_POINT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
