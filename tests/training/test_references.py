"""What stands beside a router: means of train, whoever was scored where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from erp.routers.classifier import CategoryClassifier
from erp.training.datamodule import RoutingDataModule
from erp.training.references import fit_references, member_means
from tests.training.tables import LINEAR, RIDGE, module_of, routing_data, trained


@pytest.fixture(scope="module")
def data():
    return routing_data(missing=0.1)


@pytest.mark.parametrize("router", [RIDGE, LINEAR])
def test_references_are_the_means_of_train(data, tmp_path, router):
    bundle, _ = trained(data, router, tmp_path)
    rewards = data.targets.mean[data.split.train]
    assert np.isnan(rewards).any()
    np.testing.assert_allclose(bundle.train_mean_reward, by_least_squares(rewards), rtol=1e-9)
    samples = data.table.samples[data.table.samples["prompt"].isin(data.split.train)]
    costs = samples.groupby(["member", "prompt"])["cost_usd"].mean().groupby("member").mean()
    np.testing.assert_allclose(bundle.train_mean_cost, costs, rtol=1e-12)  # measured cells of train, nothing filled in
    of_category = data.category[data.split.train] == 1
    np.testing.assert_allclose(bundle.category_mean.means[1], np.nanmean(rewards[of_category], axis=0), rtol=1e-12)


def by_least_squares(rewards):
    """Reward = prompt + member by least squares on dummies; each member's mean over all prompts with a reward."""
    rewards = rewards[~np.isnan(rewards).all(axis=1)]
    prompt, member = np.nonzero(~np.isnan(rewards))
    dummies = np.zeros((len(prompt), sum(rewards.shape)))
    dummies[np.arange(len(prompt)), prompt] = 1
    dummies[np.arange(len(prompt)), len(rewards) + member] = 1
    fitted = np.linalg.lstsq(dummies, rewards[prompt, member], rcond=None)[0]
    return fitted[: len(rewards)].mean() + fitted[len(rewards) :]


def test_member_means_without_missing_cells_are_the_columns_means():
    rewards = np.random.default_rng(0).normal(size=(50, 4))
    np.testing.assert_allclose(member_means(rewards), rewards.mean(axis=0), rtol=1e-12)


def test_a_member_scored_on_easy_prompts_only_is_not_taken_for_the_best():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=500)
    rewards = difficulty[:, None] + np.array([0.3, 0.0]) + 0.1 * rng.normal(size=(500, 2))
    rewards[difficulty < 0.5, 1] = np.nan  # the worse member, seen at its best
    assert np.nanmean(rewards, axis=0).argmax() == 1
    found = member_means(rewards)
    assert found.argmax() == 0
    assert found[0] - found[1] == pytest.approx(0.3, abs=0.03)


def test_categories_are_learnt_once_for_all_runs_of_the_same_prompts(data, tmp_path, monkeypatch):
    solved = []
    monkeypatch.setattr(CategoryClassifier, "_best", counted(CategoryClassifier._best, solved))

    def classifier(data):
        bundle = module_of(data, RIDGE).bundle
        fit_references(bundle, RoutingDataModule(data, 50, 0, cache=tmp_path))
        return bundle.classifier.weight

    first = classifier(data)
    assert torch.equal(classifier(data), first)
    assert len(solved) == 1
    (file,) = (tmp_path / "fitted").glob("*.bin")
    file.write_bytes(file.read_bytes()[:-1])  # damaged: made anew
    assert torch.equal(classifier(data), first)
    assert len(solved) == 2
    other = replace(data, category=np.roll(data.category, 1))
    assert not torch.equal(classifier(other), first)
    assert len(solved) == 3


def counted(function, calls):
    def called(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return called


def test_category_means_read_no_embedding(data):
    bundle = module_of(data, RIDGE).bundle
    module = RoutingDataModule(data, 50, 0)
    bundle.category_mean.fit(module.loader(data.split.train), ())
    expected = bundle.category_mean.means
    blind = replace(data, embeddings=None)
    bundle.category_mean.fit(RoutingDataModule(blind, 50, 0).loader(data.split.train, embeddings=False), ())
    torch.testing.assert_close(bundle.category_mean.means, expected, rtol=0, atol=0)
