"""`router.beside`: the rewards of other reward models, learnt on the same hidden layers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import erp as package
from erp.errors import ErpError
from erp.programs.train import train
from erp.routers.mlp import MLP
from erp.runs import run_hash
from tests.integration.tables import long_frame, results
from tests.routers.gradient import prepared, sampled

LEARNING = [
    "data=table", "backbone=hashing", "router=mlp", "router.hidden=[8]", "trainer.max_epochs=40",
    "trainer.learning_rate=0.003", "trainer.batch_size=64", "tracking=off", "bootstrap.draws=100",
    "figures=false", "split.near_duplicates=null",
    "trainer.accelerator=cpu", "trainer.progress=false", "reward_model.name=noisy",
]  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    """The same expected rewards by two reward models: one sees half of the cells, through much noise."""
    drawn = {"prompts": 600, "members": 4, "samples": 1, "hidden": 0.0}
    noisy = long_frame(**drawn, noise=1.5, missing=0.5).assign(reward_model="noisy")
    clear = long_frame(**drawn, noise=0.1).assign(reward_model="clear")
    return pd.concat([noisy, clear.assign(reward=100 - 40 * clear["reward"])])  # in other units, and upside down


def run(folder, frame, *more):
    frame.to_parquet(folder / "scores.parquet")
    where = [f"data.path={folder / 'scores.parquet'}", f"out={folder / 'runs'}", f"cache_dir={folder / 'cache'}"]
    return train([*LEARNING, *where, *more]).folder


def predicted(folder) -> pd.Series:
    return pd.read_parquet(f"{folder}/predictions.parquet").set_index(["prompt_id", "model"])["predicted"].sort_index()


@pytest.fixture(scope="module")
def both(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    return run(folder, frame), run(folder, frame, "router.beside=[clear]")


def test_rewards_with_less_noise_teach_those_with_more(both):
    alone, beside = (results(folder)["prediction"]["r2_pooled"] for folder in both)
    assert beside > alone + 0.02


def test_scores_are_of_the_run_s_own_reward_model_and_no_table_is_needed_for_them(both, frame):
    """In its units, which are other ones than those beside; the run is opened where the table is not asked for."""
    known = package.load(both[1])
    prompts = frame["prompt"].unique()[:40].tolist()
    scores = known.scores(prompts)
    assert scores.shape == (40, 4)
    assert np.abs(np.asarray(scores)).max() < 20  # those beside lie about 100


def test_no_reward_beside_is_read_but_of_train(both, frame, tmp_path):
    parts = pd.read_parquet(f"{both[1]}/predictions.parquet")
    held_out = frame["prompt_id"].isin(parts["prompt_id"]) & (frame["reward_model"] == "clear")
    assert held_out.sum() > 1000
    other = frame.assign(reward=np.where(held_out, -1e6, frame["reward"]))
    pd.testing.assert_series_equal(predicted(run(tmp_path, other, "router.beside=[clear]")), predicted(both[1]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["router.beside=[strict]"],
            r"^router\.beside = strict: not in .*; allowed are clear, noisy; name one of them$",
        ),
        (["router.beside=[clear,clear]"], r"^router\.beside = clear: .* named once"),
        (["router.beside=[noisy]"], r"^router\.beside = noisy: the run's own"),
        (["router.beside=[clear]", "labels.samples=1"], r"^labels\.samples = 1: .* router\.beside=null$"),
    ],
)
def test_what_cannot_be_learnt_beside_is_refused_by_name(frame, tmp_path, given, said):
    with pytest.raises(ErpError, match=said) as refused:
        run(tmp_path, frame, *given)
    assert len(refused.value.faults) == 1


def test_a_table_of_one_reward_model_has_none_beside(frame, tmp_path):
    one = frame[frame["reward_model"] == "noisy"]
    with pytest.raises(ErpError, match=r"^router\.beside = clear: not in .*; allowed are noisy"):
        run(tmp_path, one, "router.beside=[clear]")
    bare = one.drop(columns="reward_model")
    with pytest.raises(ErpError, match=r"^router\.beside = clear: .* has no column reward_model"):
        run(tmp_path, bare, "router.beside=[clear]", "reward_model.name=null")


def test_a_reward_model_of_other_prompts_is_refused(frame, tmp_path):
    clear = frame["reward_model"] == "clear"
    other = frame.assign(prompt_id=np.where(clear, "other-" + frame["prompt_id"], frame["prompt_id"]))
    other["prompt"] = np.where(clear, "other " + frame["prompt"], frame["prompt"])
    with pytest.raises(ErpError, match=r"^router\.beside = clear: has no reward of this pool on any train prompt"):
        run(tmp_path, other, "router.beside=[clear]")


def test_without_any_named_nothing_changes():
    config = {"router": {"name": "mlp", "hidden": [8]}}
    assert run_hash({"router": {**config["router"], "beside": None}}) == run_hash(config)
    batch = sampled()
    one, other = (prepared(MLP(hidden=(8,), beside=beside), batch) for beside in (None, ()))
    assert {name: tuple(value.shape) for name, value in one.state_dict().items()} == {
        name: tuple(value.shape) for name, value in other.state_dict().items()
    }
    assert one.trunk[-1].weight.shape == (4, 8)


def test_losses_are_added_in_training_and_the_own_one_is_watched():
    """Before the first step all outputs are 0: an error is the mean square of the standardised rewards."""
    batch = sampled()
    rng = np.random.default_rng(1)
    given = rng.standard_normal((len(batch.rows), 2, 4)).astype(np.float32)
    given[rng.random(given.shape) < 0.3] = np.nan
    batch = replace(batch, beside=torch.from_numpy(given))
    router = prepared(MLP(hidden=(8,), beside=("a", "b")), batch)
    mean = batch.rewards.numpy()
    own = np.mean(((mean - mean.mean(axis=0)) / np.sqrt(np.mean((mean - mean.mean(axis=0)) ** 2))) ** 2)
    assert router.eval().loss(batch).item() == pytest.approx(own, rel=1e-5)
    beside = sum(np.nanmean(given[:, r] ** 2) for r in range(2))
    assert router.train().loss(batch).item() == pytest.approx(own + beside, rel=1e-5)
    with pytest.raises(ErpError, match=r"^router\.beside = a, b: a router that is part of another"):
        router.loss(replace(batch, beside=None))
