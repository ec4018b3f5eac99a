"""A real table through `erp train`, and scikit-learn and pandas as judges of what it predicted."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from erp.backbones.base import normalised
from erp.backbones.hashing import HashingBackbone
from erp.evaluation.description import describe
from erp.programs.train import train
from erp.table.read import read_table

pytestmark = pytest.mark.tables


class Judged:
    """A run on a real table, and the same prompts for a judge."""

    def __init__(self, tables, home, router):
        path = tables / "llmrouter9.parquet"
        self.result = train(
            ["data=table", f"data.path={path}", f"router={router}", "backbone=hashing", "backbone.dimensions=256",
             "tracking=off", "trainer.progress=false", "figures=false", "bootstrap.draws=100", f"out={home / 'runs'}",
             f"cache_dir={home / 'cache'}"]
        )  # fmt: skip
        frame = pd.read_parquet(path)
        frame["reward"] = frame["reward"].astype(np.float64)
        self.rewards = frame.pivot_table(index="prompt_id", columns="model", values="reward")
        prompts = frame.drop_duplicates("prompt_id").set_index("prompt_id").loc[self.rewards.index]
        self.category = prompts["category"]
        embedding = normalised(HashingBackbone(256).embed(prompts["prompt"].tolist()))
        self.embedding = pd.DataFrame(embedding.astype(np.float64), index=self.rewards.index)
        split = pd.read_parquet(self.result.folder / "split.parquet").set_index("prompt_id")["split"]
        self.rows = {name: split.index[split == name] for name in ("train", "validation", "test")}
        predictions = pd.read_parquet(self.result.folder / "predictions.parquet")
        of_test = predictions[predictions["split"] == "test"]
        self.predicted = of_test.pivot_table(index="prompt_id", columns="model", values="predicted")
        self.predicted = self.predicted.loc[self.rows["test"], self.rewards.columns].to_numpy()

    def x(self, part):
        return self.embedding.loc[self.rows[part]].to_numpy()

    def y(self, part):
        return self.rewards.loc[self.rows[part]].to_numpy()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the runs lie, and what they share of the table."""
    return tmp_path_factory.mktemp("home")


def test_ridge_is_scikit_learns_at_the_same_alpha(tables, home):
    judged = Judged(tables, home, "ridge")
    alpha = judged.result.results["run"]["chosen"]["alpha"]
    model = Ridge(alpha=alpha).fit(judged.x("train"), judged.y("train"))
    expected = model.predict(judged.x("test"))
    assert np.abs(judged.predicted - expected).max() <= 1e-6 * np.abs(expected).max()


def test_knn_is_the_mean_of_scikit_learns_neighbours(tables, home):
    judged = Judged(tables, home, "knn")
    k = int(judged.result.results["run"]["chosen"]["k"])
    index = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(judged.x("train"))
    distance, nearest = index.kneighbors(judged.x("test"))
    clear = distance[:, k] - distance[:, k - 1] > 1e-6  # where the k-th and the next are as near, either is right
    assert clear.mean() > 0.5
    expected = judged.y("train")[nearest[:, :k]].mean(axis=1)
    np.testing.assert_allclose(judged.predicted[clear], expected[clear], rtol=0, atol=1e-9)


def test_category_mean_is_pandas_group_mean(tables, home):
    judged = Judged(tables, home, "category_mean")
    train_rows, test_rows = judged.rows["train"], judged.rows["test"]
    means = judged.rewards.loc[train_rows].groupby(judged.category.loc[train_rows]).mean()
    expected = means.loc[judged.category.loc[test_rows]].to_numpy()
    np.testing.assert_allclose(judged.predicted, expected, rtol=0, atol=1e-9)
    routing = judged.result.results["routing"]
    assert routing["router"]["reward"] == pytest.approx(routing["category_mean"]["reward"], abs=1e-12)
    assert routing["category_mean"]["reward"] == pytest.approx(0.66, abs=0.02)
    assert routing["best_single"]["member"] == "llama-3.1-nemotron-51b-instruct"


def test_describe_says_of_humaneval_what_pandas_says(tables):
    """Ten samples a cell: reliability, and the two oracles that the truth lies between."""
    facts = describe(read_table(tables / "humaneval3x10.parquet"))
    frame = pd.read_parquet(tables / "humaneval3x10.parquet")
    cells = frame.groupby(["prompt_id", "model"])["reward"].agg(["mean", "var", "count"]).astype(float)
    noise, reliability = facts["noise"], {}
    for name, member in cells.groupby("model"):
        reliability[name] = 1 - (member["var"] / member["count"]).mean() / member["mean"].var(ddof=1)
    assert noise["reliability"] == pytest.approx(reliability)
    stated = {"codellama-34b-instruct": 0.9858, "gpt-3.5-turbo": 0.9758, "gpt-4": 0.9717}
    assert noise["reliability"] == pytest.approx(stated, abs=5e-5)
    means = frame.pivot_table(index="prompt_id", columns="model", values="reward", aggfunc="mean")
    assert facts["oracle"] == pytest.approx(means.max(axis=1).mean(), abs=1e-12)
    assert facts["best_single"] == pytest.approx(0.8482, abs=5e-5)
    assert facts["split_half_oracle"] == pytest.approx(0.891, abs=0.003)
    assert facts["split_half_oracle_sd"] == pytest.approx(0.006, abs=0.002)
    assert noise["headroom"]["split_half"] < facts["oracle"] - facts["best_single"]
    assert facts["near_duplicates"]["groups"] < 5
