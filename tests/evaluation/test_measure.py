"""What a report says does not hang on how many vectors are held at once."""

import pandas as pd

import erp

QUICK = [
    "data=synthetic",
    "data.prompts=120",
    "router=ridge",
    "backbone=hashing",
    "backbone.dimensions=64",
    "tracking=off",
    "figures=false",
    "bootstrap.draws=100",
    "cost.predict=true",
]


def test_vectors_read_in_blocks_give_the_numbers_of_all_at_once(tmp_path, monkeypatch):
    at_once = erp.train([*QUICK, f"out={tmp_path / 'at once'}"])
    monkeypatch.setattr("erp.evaluation.measure.READ_AT_ONCE", 17)
    by_blocks = erp.train([*QUICK, f"out={tmp_path / 'blocks'}"])
    one, other = (pd.read_parquet(run.folder / "predictions.parquet") for run in (at_once, by_blocks))
    assert one["predicted_cost"].nunique() > 100
    pd.testing.assert_frame_equal(one, other, rtol=1e-12)
    for row in ("category_mean_predicted", "router"):
        assert at_once.results["routing"][row] == by_blocks.results["routing"][row]
