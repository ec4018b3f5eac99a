"""Fewer labels to learn from: which prompts and samples are left, and that test keeps its own."""

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.table.labels import limit_labels
from erp.table.read import read_table
from erp.table.splits import split_table
from erp.targets import expected_reward
from tests.integration.tables import long_frame


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "scores.parquet"
    frame = long_frame()
    pd.concat([frame, frame.assign(sample=frame["sample"] + frame["sample"].max() + 1)]).to_parquet(path)  # K = 4
    return read_table(path)


@pytest.fixture
def split(table):
    return split_table(table, by="group", seed=0, test=0.5, validation=0.1)


def test_no_limit_changes_nothing(table, split):
    assert limit_labels(table, split, prompts=None, samples=None, seed=0) == (table, split)


def test_prompts_are_drawn_in_proportion_and_fewer_are_part_of_more(table, split):
    learnt = {}
    for count in (12, 30, 60):
        limited, part = limit_labels(table, split, prompts=count, samples=None, seed=0)
        learnt[count] = {*part.train, *part.validation}
        assert abs(len(learnt[count]) - count) <= 1
        assert len(part.validation) / count == pytest.approx(len(split.validation) / 120, abs=0.05)
        assert learnt[count] <= {*split.train, *split.validation}
        assert set(part.validation) <= set(split.validation)
        np.testing.assert_array_equal(part.test, split.test)
        has = expected_reward(limited).count.any(axis=1)
        assert set(np.flatnonzero(has)) == learnt[count] | set(split.test)
    assert learnt[12] < learnt[30] < learnt[60]
    others = limit_labels(table, split, prompts=30, samples=None, seed=1)[1]
    assert {*others.train, *others.validation} != learnt[30]


def test_samples_are_drawn_in_cells_learnt_from_alone(table, split):
    limited, part = limit_labels(table, split, prompts=40, samples=2, seed=0)
    count, full = expected_reward(limited).count, expected_reward(table).count
    learnt = np.concatenate([part.train, part.validation])
    np.testing.assert_array_equal(count[learnt], np.minimum(full[learnt], 2))
    np.testing.assert_array_equal(count[split.test], full[split.test])
    keys = ["prompt", "member", "sample"]
    merged = limited.samples.merge(table.samples, on=keys, suffixes=("", "_of_table"))
    pd.testing.assert_series_equal(merged["reward"], merged["reward_of_table"], check_names=False)
    assert len(merged) == len(limited.samples)


def test_every_sample_is_as_likely(table, split):
    drawn = pd.concat(limit_labels(table, split, prompts=None, samples=1, seed=seed)[0].samples for seed in range(40))
    of_learnt = drawn[drawn["prompt"].isin(split.train) & drawn["reward"].notna()]
    share = of_learnt["sample"].value_counts(normalize=True)
    np.testing.assert_allclose(share, 0.25, atol=0.03)


def test_a_missing_reward_is_no_label(table, split):
    first = table.samples.groupby(["prompt", "member"]).head(3).index
    holed = table.samples.assign(reward=table.samples["reward"].where(~table.samples.index.isin(first)))
    limited, part = limit_labels(
        type(table)(table.prompts, holed, table.members, table.reward_model), split, prompts=None, samples=1, seed=0
    )
    assert (expected_reward(limited).count[part.train] == 1).all()


def test_more_than_there_are_is_all(table, split):
    limited, part = limit_labels(table, split, prompts=10_000, samples=99, seed=0)
    np.testing.assert_array_equal(part.train, split.train)
    assert len(limited.samples) == len(table.samples)


def test_means_of_several_cannot_be_drawn_from(table, split):
    means = type(table)(table.prompts, table.samples.assign(n_samples=8), table.members, table.reward_model)
    with pytest.raises(ErpError, match=r"labels.samples = 2: the table holds means of several"):
        limit_labels(means, split, prompts=None, samples=2, seed=0)
