"""Scores of rows: the router's own, in their order."""

import numpy as np
import pytest
import torch

from erp.training.scoring import scores_of
from tests.training.tables import LINEAR, RIDGE, routing_data, trained


@pytest.fixture(scope="module")
def data():
    return routing_data(missing=0.1)


@pytest.mark.parametrize("router", [RIDGE, LINEAR])
def test_scores_of_a_split_come_in_the_order_of_its_rows(data, tmp_path, router):
    bundle, _ = trained(data, router, tmp_path)
    for rows in (data.split.validation, data.split.test, data.split.test[::-1]):
        with torch.no_grad():
            expected = bundle.router.scores(data.features(rows)).double().numpy()
        for size in (7, 50, 10_000):
            found = scores_of(bundle, data, rows, size)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
            assert found.shape == (len(rows), 3)
