"""Scores of a trained bundle on rows of a table."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from erp.trained.bundle import Bundle
from erp.training.data import RoutingData, Rows


def scores_of(bundle: Bundle, data: RoutingData, rows: Rows, batch_size: int) -> NDArray[np.float64]:
    """Scores of some rows, (n, M), in their order.

    Args:
        bundle: as it was opened.
        data: its embeddings and categories are read.
        rows: of the table.
        batch_size: how many prompts are scored at once.
    """
    found = np.empty((len(rows), len(bundle.card.members)))
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            features = data.features(rows[start : start + batch_size])
            found[start : start + batch_size] = bundle.scores(features).to(torch.float64).numpy()
    return found
