"""Weights & Biases: a copy of a run for the dashboard. The only importer of wandb; nothing is read back from it."""

from erp.tracking.run import Tracker, asked_by_agent, tracked

__all__ = ["Tracker", "asked_by_agent", "tracked"]
