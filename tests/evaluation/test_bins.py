"""Bins of predicted reward, by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from erp.evaluation.bins import binned


def bins_of(predicted, observed, scale="reward"):
    """The bins of one member's test prompts, beside prompts of validation that count in no bin."""
    frame = pd.DataFrame({"split": "test", "model": "a", "predicted": predicted, "observed": observed})
    other = pd.DataFrame({"split": "validation", "model": "a", "predicted": [9.0], "observed": [9.0]})
    return binned({"run": {"scale": scale, "members": ["a"]}}, pd.concat([frame, other]))


def test_bins_hold_equal_predictions_together():
    predicted = np.repeat([0.0, 1.0], [50, 50])
    observed = np.concatenate([np.zeros(50), np.tile([1.0, 3.0], 25)])
    found = bins_of(predicted, observed)["a"]
    assert found.predicted.tolist() == [0.0, 1.0]
    assert found.observed.tolist() == [0.0, 2.0]
    assert found.error == pytest.approx([0.0, np.std([1.0, 3.0] * 25, ddof=1) / math.sqrt(50)])
    found = bins_of(np.arange(1000.0), np.arange(1000.0))["a"]
    assert len(found.predicted) == 10
    assert found.predicted == pytest.approx(np.arange(10) * 100 + 49.5)
    assert [len(part) for part in vars(bins_of(np.zeros(0), np.zeros(0))["a"]).values()] == [0, 0, 0]
    assert bins_of([2.0], [3.0])["a"].error.tolist() == [0.0]
    assert [len(part) for part in vars(bins_of([2.0, 3.0], [np.nan, 3.0])["a"]).values()] == [1, 1, 1]


def test_scores_that_only_order_have_none():
    assert bins_of([2.0], [3.0], scale="ordinal") == {}
