"""Clusters that speak for a prompt, each router's formula by loops over the clusters that K-means gave."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from erp.errors import ErpError
from erp.routers.avengers import Avengers, AvengersPro
from erp.routers.prox import Prox
from tests.routers.problems import dimensions, problem, scores


def fitted(router, train, validation=None, costs=None):
    router.prepare(dimensions(train))
    batch = train.batch() if costs is None else replace(train.batch(), costs=torch.from_numpy(costs))
    router.fit([batch], [] if validation is None else validation.batches(20))
    return router


def cluster_of(centers, embedding):
    return np.array([np.argmin(np.square(centers - e).sum(axis=1)) for e in embedding.astype(float)])


def cell_means(values, cluster, count):
    """(clusters, M) means of what is there; a member's own mean where nothing is."""
    means = np.tile(np.nanmean(values, axis=0), (count, 1))
    for c in range(count):
        for m in range(values.shape[1]):
            here = values[cluster == c, m]
            if (~np.isnan(here)).any():
                means[c, m] = np.nanmean(here)
    return means


def nearest(centers, e, count):
    product = centers @ e.astype(float)
    order = np.argsort(-product)[:count]
    return order, 1 - product[order]


def test_places_in_the_nearest_clusters():
    train, _, test = problem(missing=0.4)
    train = train.with_rewards(np.round(train.rewards / 2) * 0.1)  # with ties
    router = fitted(Avengers(clusters=20, nearest=3, beta=5.0, offset=0.5), train)
    centers = router.centers.numpy()
    means = np.round(cell_means(train.rewards, cluster_of(centers, train.embedding), 20), 9)
    for e, found in zip(test.embedding, scores(router, test), strict=True):
        order, distance = nearest(centers, e, 3)
        weight = np.exp(-5 * distance) / np.exp(-5 * distance).sum()
        expected = [
            sum(w / (np.sum(means[c] > means[c, m]) + 0.5) for c, w in zip(order, weight, strict=True))
            for m in range(4)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_reward_against_cost_in_the_nearest_clusters():
    train, _, test = problem(missing=0.3)
    costs = np.random.default_rng(0).uniform(1, 2, train.rewards.shape)
    router = fitted(AvengersPro(clusters=10, nearest=4, alpha=0.6), train, costs=costs)
    centers = router.centers.numpy()
    cluster = cluster_of(centers, train.embedding)
    reward = cell_means(train.rewards, cluster, 10)
    cost = cell_means(np.where(np.isnan(train.rewards), np.nan, costs), cluster, 10)
    for e, found in zip(test.embedding, scores(router, test), strict=True):
        expected = np.zeros(4)
        for c in nearest(centers, e, 4)[0]:
            r = (reward[c] - reward[c].min()) / (reward[c].max() - reward[c].min())
            q = (cost[c] - cost[c].min()) / (cost[c].max() - cost[c].min())
            expected += (0.6 * r + 0.4 * (1 - q)) / 4
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_clusters_by_size_and_nearness():
    train, validation, test = problem(missing=0.3)
    router = fitted(Prox(clusters=(6,), taus=(0.05, 1.0)), train, validation)
    scored = train.embedding[~np.isnan(train.rewards).all(axis=1)]
    points = np.array(sorted(scored, key=lambda row: row.tobytes()))
    model = KMeans(6, random_state=0, n_init=1).fit(points, sample_weight=np.ones(len(points)))
    cluster = cluster_of(model.cluster_centers_, train.embedding)
    centers = model.cluster_centers_ / np.linalg.norm(model.cluster_centers_, axis=1, keepdims=True)
    counts = np.array([(~np.isnan(train.rewards[cluster == c])).sum(axis=0) for c in range(6)])
    means, predicted = cell_means(train.rewards, cluster, 6), {}
    for tau in (0.05, 1.0):
        for part in (validation, test):
            rows = []
            for e in part.embedding.astype(float):
                weight = counts * np.exp(-(1 - centers @ e) / tau)[:, None]
                rows.append((weight * means).sum(axis=0) / weight.sum(axis=0))
            predicted[tau, len(part)] = np.array(rows)
    best = min((0.05, 1.0), key=lambda tau: np.nansum((predicted[tau, 60] - validation.rewards) ** 2))
    assert router.chosen() == {"clusters": 6.0, "tau": best}
    np.testing.assert_allclose(scores(router, test), predicted[best, 50], rtol=1e-5)


def test_the_tilt_goes_from_the_mean_of_train_to_the_cluster_mean():
    train, _, test = problem()
    wide = scores(fitted(Prox(clusters=(6,), taus=(1e6,)), train), test)
    np.testing.assert_allclose(wide, np.tile(train.rewards.mean(axis=0), (50, 1)), atol=1e-4)
    narrow = fitted(Prox(clusters=(160,), taus=(1e-6,)), train)  # a cluster for each train prompt: the nearest one's
    near = (test.embedding.astype(float) @ train.embedding.astype(float).T).argmax(axis=1)
    np.testing.assert_allclose(scores(narrow, test), train.rewards[near], atol=1e-6)


BAD = [
    (Avengers, {"clusters": 0}, "router.clusters = 0"),
    (Avengers, {"nearest": 0}, "router.nearest = 0"),
    (Avengers, {"beta": -1.0}, "router.beta = -1.0"),
    (Avengers, {"offset": 0.0}, "router.offset = 0.0"),
    (AvengersPro, {"alpha": 1.5}, "router.alpha = 1.5"),
    (Prox, {"clusters": ()}, "router.clusters"),
    (Prox, {"taus": (0.0,)}, "router.taus"),
]


@pytest.mark.parametrize(("maker", "arguments", "message"), BAD)
def test_a_bad_setting_is_refused_by_name(maker, arguments, message):
    with pytest.raises(ErpError, match=message):
        maker(**arguments)
