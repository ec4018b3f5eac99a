"""The method's worked example as samples, and tables and targets made of samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from erp.table.schema import RewardTable
from erp.targets import Targets

BETA = np.array([-0.5, -0.25, 0.0, 0.25, 0.5])


def worked_example(n, k, seed=0):
    """Samples (n, 5, k) and predictions (n, 5) of the method's worked example."""
    rng = np.random.default_rng([seed, k])
    c = 0.7 * np.sqrt(0.5)
    predicted = rng.normal(0, 2, (n, 1)) + BETA + c * rng.standard_normal((n, 5))
    mu = predicted + c * rng.standard_normal((n, 5))
    return mu[:, :, None] + 1.5 * rng.standard_normal((n, 5, k)), predicted


def table_of(samples, category=None):
    """A table with these samples (n, m, k), NaN = missing, built column by column."""
    n, m, _ = samples.shape
    prompt, member, sample = (x.ravel() for x in np.indices(samples.shape))
    frame = pd.DataFrame({"prompt": prompt, "member": member, "sample": sample, "reward": samples.ravel()})
    frame["n_samples"] = 1
    prompts = pd.DataFrame({"prompt_id": [f"{i:07d}" for i in range(n)], "category": category}, dtype=object)
    return RewardTable(prompts, frame, tuple("abcdefgh"[:m]), "test")


def targets_of(samples):
    """Of samples (n, m, k), NaN behind a cell's last; every cell has one."""
    count = (~np.isnan(samples)).sum(axis=2)
    mean = np.nansum(samples, axis=2) / count
    squares = np.nansum((samples - mean[:, :, None]) ** 2, axis=2)
    variance = np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan)
    return Targets(mean, count, variance, np.sqrt(variance / count))
