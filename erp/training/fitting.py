"""Lightning's part of a run: fit, checkpoint, and the scores of a held-out split."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from erp.config import Trainer
from erp.training.data import RoutingDataModule
from erp.training.module import RoutingModule

# Advice that does not apply: batches are whole already, and the folder is the run's own.
_BESIDE_THE_POINT = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*",  # a deprecation inside Lightning
    ".*in eval mode at the start of training.*",  # parts of a closed-form router are trained, and done, by then
    ".*The number of training batches .* is smaller than the logging interval.*",
)


def fit(
    module: RoutingModule, datamodule: RoutingDataModule, trainer: Trainer, folder: Path, logger: Logger | None
) -> None:
    """Train and leave the best state in ``<folder>/checkpoint.ckpt``; a killed training goes on from ``last.ckpt``.

    With an encoder, ``last.ckpt`` stays until `settled` has made the embeddings anew, which may take long.

    A closed-form router is solved when fitting starts; one empty step and one validation follow, so that it is
    checkpointed and logged as any other.
    """
    checkpoint, last = folder / "checkpoint.ckpt", folder / "last.ckpt"
    if module.router.closed_form:
        # numpy on the CPU, wherever networks are trained. Lightning's own checkpoints count optimizer steps, and there
        # is none here.
        runner = _lightning(
            max_epochs=1, limit_train_batches=1, logger=logger or False, enable_progress_bar=False,
            enable_checkpointing=False, default_root_dir=folder,
        )  # fmt: skip
        with _quiet(), _interruptible():
            runner.fit(module, datamodule=datamodule)
            runner.save_checkpoint(checkpoint)
        return
    keep_best = ModelCheckpoint(
        dirpath=folder, filename=checkpoint.stem, monitor="val/loss", save_last=True, enable_version_counter=False
    )
    runner = _lightning(
        accelerator=_accelerator(trainer.accelerator), max_epochs=trainer.max_epochs, logger=logger or False,
        callbacks=[keep_best, EarlyStopping("val/loss", patience=trainer.patience)],
        enable_progress_bar=trainer.progress, default_root_dir=folder,
    )  # fmt: skip
    with _quiet(), _interruptible():
        runner.fit(module, datamodule=datamodule, ckpt_path=_readable(last), weights_only=True)
    if module.encoder is None:
        last.unlink(missing_ok=True)


def _accelerator(asked: str) -> str:
    """``auto`` takes CUDA or the CPU: rewards are float64, which Apple's GPUs do not know."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def _readable(last: Path) -> str | None:
    """The checkpoint to go on from; None where there is none, or the process was killed while it wrote it."""
    try:
        torch.load(last, map_location="cpu", weights_only=True)
    except Exception:  # a torn file can make the unpickler raise anything
        return None
    return str(last)


def validation_scores(module: RoutingModule, datamodule: RoutingDataModule) -> NDArray[np.float64]:
    """Scores of the validation split, (N, M), in the order of its rows."""
    with _quiet():
        _lightning(logger=False, enable_progress_bar=False).validate(module, datamodule=datamodule, verbose=False)
    return np.asarray(module.scores().numpy())


def scores_of(module: RoutingModule, datamodule: RoutingDataModule, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of any rows of the table, (n, M), in their order."""
    with torch.no_grad():
        parts = [module.router.scores(module.seen(batch.features)) for batch in datamodule.loader(rows)]
    return np.asarray(torch.cat(parts).to("cpu", torch.float64).numpy())


def test_scores(module: RoutingModule, datamodule: RoutingDataModule) -> NDArray[np.float64]:
    """Scores of the test split, (N, M), in the order of its rows."""
    with _quiet():
        _lightning(logger=False, enable_progress_bar=False).test(module, datamodule=datamodule, verbose=False)
    return np.asarray(module.scores().numpy())


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
