"""Runs that learnt from fewer labels: what their reports say, and what can be done with them."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def limited(erp, quick) -> list[Path]:
    """A run of all labels, and one of a single sample of each cell."""
    runs = []
    for more in ([], ["labels.samples=1"]):
        answer = erp("train", *quick, "figures=false", *more)
        assert answer.code == 0, answer.err
        runs.append(Path(answer.last))
    return runs


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_what_is_said_of_the_table_is_of_all_of_its_labels(limited):
    every, one = map(results, limited)
    assert one["noise"] == every["noise"]
    assert one["audits"]["length_bias"] == every["audits"]["length_bias"]
    assert one["routing"]["oracle"] == every["routing"]["oracle"]
    assert one["prediction"]["r2_pooled"] < every["prediction"]["r2_pooled"]
    assert one["data"]["samples_per_cell"] == [1, 2]
    assert one["economics"]["labels_learnt_from"] == pytest.approx(
        every["economics"]["labels_learnt_from"] / 2, rel=0.1
    )


def test_an_evaluation_does_not_count_labels_that_were_not_learnt_from(erp, limited):
    answer = erp("evaluate", f"run={limited[1]}")
    assert answer.code == 0, answer.err
    evaluation = results(next((limited[1] / "evaluations").iterdir()))
    assert evaluation["economics"] is None
    assert evaluation["routing"]["router"]["reward"] == results(limited[1])["routing"]["router"]["reward"]


def test_a_new_member_cannot_have_more_samples_than_the_others_had(erp, limited, table):
    answer = erp("extend", f"run={limited[1]}", "data=table", f"data.path={table}")
    assert answer.code == 2
    assert "labels.samples = 1" in answer.err
