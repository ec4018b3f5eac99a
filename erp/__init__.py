"""Expected reward prediction: the score each language model would earn, from the prompt alone, and routing on it.

``erp.train(config)`` makes a run, ``erp.load(run)`` opens one: ``.scores(prompts)``, ``.route(prompts, lambda_=...)``.
``erp.import_table(source, path)`` makes a reward table of scores that you have.
``erp.evaluate_scores(scores, rewards, costs, train_rewards=...)`` judges a router of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erp.errors import ErpError
    from erp.evaluation.scores import evaluate_scores
    from erp.programs.import_ import import_table
    from erp.programs.train import train
    from erp.trained.router import TrainedRouter, load

__all__ = ["ErpError", "TrainedRouter", "evaluate_scores", "import_table", "load", "train"]

_HOMES = {
    "ErpError": "erp.errors",
    "TrainedRouter": "erp.trained.router",
    "evaluate_scores": "erp.evaluation.scores",
    "import_table": "erp.programs.import_",
    "load": "erp.trained.router",
    "train": "erp.programs.train",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import erp`` (and ``erp --help``) does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module erp has no attribute {name}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
