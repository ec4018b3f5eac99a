"""Nearest vectors: all of them sorted is the judge, of blocks and of the index."""

import sys

import numpy as np
import pytest
import torch

from erp.errors import ErpError
from erp.routers import knn, neighbours
from erp.routers.knn import KNN, first_equal_in_blocks
from erp.routers.neighbours import nearest, recall_of
from tests.routers.problems import Part, problem, scores


def vectors(n, seed=0, d=16):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))


def by_sorting(queries, kept, k):
    cosine = queries.double() @ kept.double().T
    return cosine.sort(dim=1, descending=True, stable=True).indices[:, :k].numpy()


def found(queries, kept, k, weighted):
    return nearest(queries.numpy(), kept.numpy(), first_equal_in_blocks(kept).numpy(), k, weighted)


@pytest.mark.parametrize("columns", [7, 64, 1000])
@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_find_what_sorting_finds(monkeypatch, columns, k, weighted):
    for module in (neighbours, knn):
        monkeypatch.setattr(module, "COLUMNS", columns)
    kept, queries = vectors(300), vectors(50, 1)
    cosine, position = found(queries, kept, k, weighted)
    expected = by_sorting(queries, kept, k)
    assert recall_of(position, expected) == 1
    if weighted:  # float32 may order two that are nearly as near otherwise
        np.testing.assert_array_equal(position, expected)
    every = (queries.double() @ kept.double().T).numpy()
    np.testing.assert_allclose(cosine, np.take_along_axis(every, position, axis=1), atol=1e-6, rtol=0)
    assert (np.diff(cosine, axis=1) <= 0).all()


def test_of_equal_vectors_in_several_blocks_the_first_come_first(monkeypatch):
    for module in (neighbours, knn):
        monkeypatch.setattr(module, "COLUMNS", 10)
    kept = torch.eye(4).repeat(10, 1)  # cosines are 0 or 1, exactly
    twin = first_equal_in_blocks(kept)
    assert twin.tolist()[10:16] == [10, 11, 12, 13, 10, 11]
    for weighted in (False, True):
        _, position = found(torch.eye(4)[:2], kept, 6, weighted)
        assert position.tolist() == [[0, 4, 8, 12, 16, 20], [1, 5, 9, 13, 17, 21]]
        assert found(torch.eye(4)[:1], kept, 12, weighted)[1].tolist() == [[*range(0, 40, 4), 1, 2]]


def test_blocks_do_not_change_what_a_router_says(monkeypatch):
    train, validation, test = problem(missing=0.1)
    whole = fitted(KNN(), train, validation)
    for module in (neighbours, knn):
        monkeypatch.setattr(module, "COLUMNS", 17)
    blocks = fitted(KNN(), train, validation)
    assert blocks.chosen() == whole.chosen()
    np.testing.assert_allclose(scores(blocks, test), scores(whole, test), atol=1e-12)


def fitted(router, train, validation):
    router.fit(train.batches(), validation.batches())
    return router


def topics(n, seed, d=24):
    """Prompts about one of 40 topics, as an index expects them: neighbours lie together."""
    rng = np.random.default_rng(seed)
    x = np.random.default_rng(99).standard_normal((40, d))[rng.integers(40, size=n)] + 0.4 * rng.standard_normal((n, d))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return Part(x, x[:, :3].astype(np.float64) + rng.normal(0, 0.1, (n, 3)), np.zeros(n, dtype=np.int64))


def test_an_index_finds_most_neighbours_and_says_how_many():
    pytest.importorskip("faiss")
    train, validation, test = (topics(n, seed) for seed, n in enumerate((4000, 400, 300)))
    exact, approximate = (fitted(KNN(k=20, exact_up_to=up), train, validation) for up in (4000, 3999))
    assert set(exact.chosen()) == {"k"}
    assert approximate.chosen()["recall"] >= neighbours.RECALL
    assert int(approximate.probes) < 2 * 4000**0.5 / 2  # it does not look into everything
    recall = recall_of(*(router.kept().nearest(test.embedding, 20, False)[1] for router in (approximate, exact)))
    assert recall == pytest.approx(approximate.chosen()["recall"], abs=0.05)
    np.testing.assert_allclose(scores(approximate, test), scores(exact, test), atol=0.05)
    assert np.corrcoef(scores(approximate, test).ravel(), scores(exact, test).ravel())[0, 1] > 0.995


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_an_index_is_saved_with_the_router(temperature):
    pytest.importorskip("faiss")
    train, validation, test = (topics(n, seed) for seed, n in enumerate((500, 100, 50)))
    router = fitted(KNN(exact_up_to=100, temperature=temperature), train, validation)
    assert len(router.embedding) == 0
    again = KNN()
    again.load_state_dict(router.state_dict())
    np.testing.assert_array_equal(scores(again, test), scores(router, test))
    assert again.chosen() == router.chosen()
    assert again.neighbour_rewards(test.features()).shape == (50, int(router.neighbours), 3)


def test_where_the_cells_around_hold_too_few_all_are_searched():
    pytest.importorskip("faiss")
    train, validation, test = (topics(n, seed) for seed, n in enumerate((300, 60, 20)))
    router = fitted(KNN(k=299, exact_up_to=10), train, validation)
    assert np.isfinite(scores(router, test)).all()
    np.testing.assert_allclose(scores(router, test), np.tile(train.rewards.mean(axis=0), (20, 1)), atol=0.01)


def test_an_index_without_faiss_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    train, validation, _ = (topics(n, seed) for seed, n in enumerate((300, 60, 20)))
    with pytest.raises(ErpError, match=r"router.exact_up_to: .*pip install 'erp\[ann\]'"):
        KNN(exact_up_to=10).fit(train.batches(), validation.batches())
    fitted(KNN(exact_up_to=300), train, validation)
    with pytest.raises(ErpError, match=r"router.exact_up_to = 0"):
        KNN(exact_up_to=0)
