"""scikit-learn's KMeans and pandas' groupby are the judges."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from erp.build import build
from erp.compose import conf_folder
from erp.errors import ErpError
from erp.routers import cluster_mean
from erp.routers.base import Router
from erp.routers.cluster_mean import ClusterMean, nearest_center
from erp.routers.hierarchical_mean import HierarchicalMean
from erp.routers.kernel_ridge import KernelRidge
from erp.routers.knn import scored_prompts
from tests.routers.problems import Part, problem, scores


def fitted(train, validation, size=None, **options):
    router = ClusterMean(**options)
    router.fit(train.batches(size), validation.batches(size))
    return router


def blobs(seed=0, blobs=6, n=240, d=8, missing=0.2):
    """Train and test prompts in blobs far apart, with the blob of each."""
    rng = np.random.default_rng(seed)
    middle = 10 * np.eye(d)[:blobs]
    label = rng.permutation(np.arange(n) % blobs)
    embedding = (middle[label] + 0.1 * rng.standard_normal((n, d))).astype(np.float32)
    rewards = rng.standard_normal((blobs, 3))[label] + rng.standard_normal((n, 3))
    rewards[rng.random(rewards.shape) < missing] = np.nan
    rewards[0] = np.nan  # a prompt without any reward
    whole = Part(embedding, rewards, np.full(n, -1))
    cut = 2 * n // 3
    return whole.take(np.arange(cut)), whole.take(np.arange(cut, n)), label[:cut], label[cut:]


def shrunk_means(rewards, label, kappa):
    """(n mean + kappa global) / (n + kappa) by pandas, one row a label."""
    groups = pd.DataFrame(rewards).groupby(label)
    return (groups.sum() + kappa * np.nanmean(rewards, axis=0)) / (groups.count() + kappa)


@pytest.mark.parametrize("kappa", [0, 3.5, 80])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_on_blobs_far_apart_it_is_pandas_group_means(kappa, missing):
    train, test, label, test_label = blobs(missing=missing)
    router = fitted(train, test, size=17, clusters=[6], kappas=[kappa])
    expected = shrunk_means(train.rewards, label, kappa).loc[test_label].to_numpy()
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-9)


@pytest.mark.parametrize("clusters", [2, 5, 11])
def test_centres_are_where_scikit_learns_k_means_stays(clusters):
    train, validation, test = problem(missing=0.2)
    router = fitted(train, validation, clusters=[clusters], kappas=[4.0])
    x = train.embedding[~np.isnan(train.rewards).all(axis=1)].astype(np.float64)
    centers = router.centers.numpy()
    again = KMeans(clusters, init=centers, n_init=1, tol=1e-9).fit(x)
    np.testing.assert_allclose(again.cluster_centers_, centers, atol=1e-5)
    best = min(KMeans(clusters, n_init=1, random_state=seed).fit(x).inertia_ for seed in range(5))
    assert again.inertia_ < 1.1 * best
    label = pairwise_distances_argmin(train.embedding, centers)
    expected = shrunk_means(train.rewards, label, 4.0).loc[pairwise_distances_argmin(test.embedding, centers)]
    np.testing.assert_allclose(scores(router, test), expected.to_numpy(), rtol=1e-9)


def noisier(seed, missing):
    """Parts whose rewards tell the less of the prompt, the larger the seed."""
    rng = np.random.default_rng(seed)
    return [
        part.with_rewards(part.rewards + 2 * seed * rng.standard_normal(part.rewards.shape))
        for part in problem(seed, missing=missing)
    ]


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_and_kappa_are_the_best_pair_on_validation(seed, missing):
    train, validation, test = noisier(seed, missing)
    pairs = [(clusters, kappa) for clusters in (2, 8, 30) for kappa in (0, 3, 20)]
    alone = [fitted(train, validation, clusters=[clusters], kappas=[kappa]) for clusters, kappa in pairs]
    errors = [np.nansum((scores(router, validation) - validation.rewards) ** 2) for router in alone]
    best = int(np.argmin(errors))
    router = fitted(train, validation, size=19, clusters=[30, 8, 2], kappas=[20, 3, 0])
    assert router.chosen() == dict(zip(("clusters", "kappa"), pairs[best], strict=True))
    np.testing.assert_allclose(scores(router, test), scores(alone[best], test), rtol=1e-9)


def test_problems_above_choose_different_pairs():
    """Or the test above could not fail."""
    options = {"clusters": [2, 8, 30], "kappas": [0, 3, 20]}
    chosen = [fitted(*noisier(seed, 0.3)[:2], **options).chosen() for seed in range(4)]
    assert all(len({choice[key] for choice in chosen}) > 1 for key in ("clusters", "kappa"))


def test_more_clusters_than_prompts_is_the_nearest_prompt():
    train, validation, test = problem()
    router = fitted(train, validation, clusters=[10**6], kappas=[0])
    nearest = NearestNeighbors(n_neighbors=1).fit(train.embedding).kneighbors(test.embedding, return_distance=False)
    np.testing.assert_allclose(scores(router, test), train.rewards[nearest[:, 0]], rtol=1e-12)
    assert router.chosen() == {"clusters": len(train), "kappa": 0}


def test_equal_prompts_are_one_point_that_counts_as_often():
    train, validation, _ = problem()
    train = train.take(np.repeat([0, 1, 2], [5, 3, 1]))
    router = fitted(train, validation, clusters=[7], kappas=[0])
    assert router.chosen()["clusters"] == 3
    np.testing.assert_allclose(scores(router, train), train.rewards, rtol=1e-12)
    one = fitted(train, validation, clusters=[1], kappas=[0])
    np.testing.assert_allclose(one.centers.numpy()[0], train.embedding.mean(axis=0), atol=1e-6)


def test_a_member_without_a_reward_in_a_cluster_gets_its_mean_over_all():
    train, test, label, test_label = blobs()
    train.rewards[label == 2, 1] = np.nan
    router = fitted(train, test, clusters=[6], kappas=[0])
    np.testing.assert_allclose(scores(router, test)[test_label == 2, 1], np.nanmean(train.rewards[:, 1]), rtol=1e-12)
    assert np.ptp(scores(router, test)[:, 1]) > 0


def test_a_member_without_any_reward_is_predicted_zero():
    train, test, label, test_label = blobs()
    train.rewards[:, 1] = np.nan
    found = scores(fitted(train, test, clusters=[6], kappas=[5]), test)
    assert (found[:, 1] == 0).all()
    others = shrunk_means(train.rewards[:, [0, 2]], label, 5).loc[test_label].to_numpy()
    np.testing.assert_allclose(found[:, [0, 2]], others, rtol=1e-9)


def test_mini_batches_beyond_many_points_find_the_same_blobs(monkeypatch):
    monkeypatch.setattr(cluster_mean, "MOST_POINTS", 100)
    train, test, label, test_label = blobs(seed=1, n=600)
    router = fitted(train, test, clusters=[6], kappas=[2])
    expected = shrunk_means(train.rewards, label, 2).loc[test_label].to_numpy()
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-9)
    centers = KMeans(6, init=router.centers.numpy(), n_init=1).fit(train.embedding.astype(np.float64)).cluster_centers_
    distance = np.abs(router.centers.numpy() - centers).max()
    assert 1e-6 < distance < 0.1  # centres of mini-batches are near the means, and not at them


def test_several_threads_give_the_same_bits(monkeypatch):
    """scikit-learn alone adds threads' sums in the order in which they finish."""
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    train, validation, _ = problem(sizes=(4000, 10, 10), d=16)
    with threadpool_limits(limits=6, user_api="openmp"):
        centers = [fitted(train, validation, clusters=[8], kappas=[0]).centers.numpy() for _ in range(4)]
    for again in centers[1:]:
        np.testing.assert_array_equal(again, centers[0])


def test_the_seed_starts_k_means():
    train, validation, test = problem()
    one, other = (scores(fitted(train, validation, clusters=[12], seed=seed), test) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_one_train_prompt_and_an_empty_validation():
    train, _, test = problem()
    router = ClusterMean()
    router.fit(train.take(np.arange(1)).batches(), [])
    np.testing.assert_allclose(scores(router, test), np.repeat(train.rewards[:1], len(test), axis=0), rtol=1e-12)


def test_uniroute_is_cluster_mean_without_shrinkage():
    node = yaml.safe_load((conf_folder() / "router" / "uniroute.yaml").read_text())
    router = build(node, Router, key="router")
    assert isinstance(router, ClusterMean)
    assert router.kappas == [0]
    assert not router.reads_category


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": []}, r"router\.clusters = \[\]: .*1 or more"),
        ({"clusters": [8, 0]}, r"router\.clusters = \[8, 0\]: .*1 or more"),
        ({"kappas": []}, r"router\.kappas = \[\]: .*0 or more"),
        ({"kappas": [-1.0]}, r"router\.kappas = \[-1\.0\]: .*0 or more"),
        ({"kappas": [float("nan")]}, r"router\.kappas = \[nan\]: .*0 or more"),
        ({"seed": -1}, r"router\.seed = -1: .*from 0"),
        ({"seed": 2**32}, r"router\.seed = .*from 0"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ErpError, match=message):
        ClusterMean(**options)


@pytest.mark.parametrize("name", ["cluster_mean", "hierarchical_mean", "kernel_ridge"])
def test_of_many_prompts_some_tell_where_centres_lie_and_all_tell_the_means(monkeypatch, name):
    """Whatever the order of the table; the means are those of all prompts."""
    module = importlib.import_module(f"erp.routers.{name}")
    train, validation, test = problem(sizes=(400, 80, 60))
    monkeypatch.setattr(module, "MOST_KEPT", 100)
    taken = scored_prompts(train.batches(37), 100)[0].embedding
    assert 60 < len(taken) < 140
    order = np.random.default_rng(0).permutation(400)
    made = [
        {
            "cluster_mean": ClusterMean([4], [0]), "hierarchical_mean": HierarchicalMean([2], [4], [0]),
            "kernel_ridge": KernelRidge(exact_up_to=50, landmarks=30),
        }[name]
        for _ in range(2)
    ]  # fmt: skip
    for router, part in zip(made, (train, train.take(order)), strict=True):
        router.fit(part.batches(37), validation.batches())
    np.testing.assert_allclose(scores(made[0], test), scores(made[1], test), atol=1e-9)
    if name != "kernel_ridge":
        code = nearest_center(torch.from_numpy(train.embedding), made[0].centers).numpy()
        found = scores(made[0], train)
        for cluster in range(4):
            expected = train.rewards[code == cluster].mean(axis=0)
            np.testing.assert_allclose(found[code == cluster], np.tile(expected, ((code == cluster).sum(), 1)))


def test_many_prompts_of_one_embedding_are_all_taken():
    train, _, _ = problem(sizes=(400, 80, 60))
    for value in np.linspace(0.1, 1, 8):
        same = Part(np.full_like(train.embedding, value), train.rewards, train.category)
        assert len(scored_prompts(same.batches(), 50)[0].embedding) == 400
