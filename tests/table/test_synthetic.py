"""The generator: its truth is what it says, and its words are what a bag-of-words backbone needs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression

from erp.errors import ErpError
from erp.table.read import read_table
from erp.table.synthetic import Synthetic
from erp.table.write import write_table
from erp.targets import expected_reward


def test_twelve_distinct_words_of_which_nine_from_one_topic():
    table, _ = Synthetic(prompts=500).draw()
    words = table.prompts["prompt"].str.split()
    assert (words.map(len) == 12).all()
    assert (words.map(lambda w: len(set(w))) == 12).all()
    counts = CountVectorizer().fit(table.prompts["prompt"])
    assert len(counts.vocabulary_) == 96
    assert table.prompts["category"].value_counts().size == 4
    # nine of 24 words against three of 72: a word of the topic is nine times as frequent
    code = table.prompts.loc[table.prompts["category"] == "code", "prompt"].str.split().explode().value_counts()
    assert code["recursion"] > 3 * code.get("sonnet", 0)


def test_the_linear_part_is_linear_and_the_rest_is_not_predictable():
    table, truth = Synthetic(prompts=4000, members=3, seed=5).draw()
    bag = CountVectorizer().fit_transform(table.prompts["prompt"]).toarray().astype(float)
    fit = LinearRegression().fit(bag, truth.linear)
    assert np.allclose(fit.predict(bag), truth.linear, atol=1e-8)
    hidden = truth.expected_reward - truth.linear
    assert hidden.std() == pytest.approx(0.7, abs=0.02)
    assert abs(np.corrcoef(hidden[:, 0], truth.linear[:, 0])[0, 1]) < 0.06


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_ceiling_and_variances_equal_a_large_draw(seed):
    table, truth = Synthetic(prompts=30_000, members=3, samples=2, seed=seed).draw()
    mean = expected_reward(table).mean
    observed = 1 - ((mean - truth.linear) ** 2).mean(axis=0) / mean.var(axis=0)
    # closed form: (1 + .49) / (1 + .49 + .49 + 1.125) = .4799
    assert truth.r2_ceiling_linear == pytest.approx(1.49 / 3.105)
    assert np.allclose(observed, truth.r2_ceiling_linear, atol=0.015)
    assert np.allclose(truth.linear.var(axis=0), 1.49, rtol=0.03)
    assert np.allclose(sorted(truth.linear.mean(axis=0)), 0.35 * np.sqrt(1.5) * np.array([-1, 0, 1]), atol=0.03)


def test_pure_noise_depends_on_nothing():
    table, truth = Synthetic(prompts=50, signal=0.0, hidden=0.0, spread=0.0).draw()
    assert (truth.expected_reward == 0).all()
    assert truth.r2_ceiling_linear == 0
    assert table.samples["reward"].std() == pytest.approx(1.5, abs=0.1)
    _, truth = Synthetic(prompts=50, signal=0.0, hidden=0.0, spread=1.0, members=2).draw()
    assert sorted(truth.expected_reward[0]) == [-1.0, 1.0]


def test_headroom_and_dearer_members_are_better():
    table, truth = Synthetic(prompts=5000).draw()
    mean = pd.Series(truth.expected_reward.mean(axis=0), index=table.members)
    cost = table.samples.groupby("member")["cost_usd"].mean().set_axis(list(table.members))
    order = ["synthetic-1b", "synthetic-3b", "synthetic-8b", "synthetic-14b", "synthetic-32b"]
    assert mean[order].is_monotonic_increasing
    assert cost[order[-1]] > 4 * cost[order[0]]
    routed = np.take_along_axis(truth.expected_reward, truth.linear.argmax(axis=1)[:, None], axis=1).mean()
    assert routed > mean.max() + 0.2
    assert truth.expected_reward.max(axis=1).mean() > routed


def test_deterministic_and_the_first_prompts_stay():
    table, truth = Synthetic(prompts=30, seed=2).draw()
    assert table.fingerprint() == Synthetic(prompts=30, seed=2).draw()[0].fingerprint()
    assert table.fingerprint() != Synthetic(prompts=30, seed=3).draw()[0].fingerprint()
    larger, more = Synthetic(prompts=60, seed=2).draw()
    assert np.array_equal(more.expected_reward[:30], truth.expected_reward)
    assert np.array_equal(larger.samples["reward"][: len(table.samples)], table.samples["reward"])


def test_missing_cells_and_no_categories(tmp_path):
    table, _ = Synthetic(prompts=400, members=4, missing=0.5, categories=False).draw()
    targets = expected_reward(table)
    assert (targets.count.max(axis=1) == 4).all()
    assert 0.4 < (targets.count == 0).mean() < 0.5  # 0.5 - 0.25 * 0.5**4: every prompt keeps a cell
    assert not table.has_categories
    assert table.notes[-1].endswith("cells are missing")
    write_table(table, tmp_path / "t")
    assert read_table(tmp_path / "t").fingerprint() == table.fingerprint()


def test_numbers_out_of_range_are_named():
    with pytest.raises(ErpError) as caught:
        Synthetic(prompts=0, members=17, missing=1.0).draw()
    assert [line.split(":")[0] for line in caught.value.faults] == [
        "data.prompts = 0", "data.members = 17", "data.missing = 1.0",
    ]  # fmt: skip
    with pytest.raises(ErpError, match=r"data.noise = -1"):
        Synthetic(noise=-1.0).draw()
