import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from erp.routers.base import Dimensions
from erp.routers.category_mean import CategoryMean
from erp.routers.classifier import CategoryClassifier
from erp.routers.soft_category_mean import SoftCategoryMean
from tests.routers.problems import Part, dimensions, problem, scores


def clusters(n=240, seed=0, categories=3):
    """Prompts of a category lie near each other."""
    train, validation, test = problem(seed, sizes=(n, 80, 60), categories=categories)
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((categories, 12))

    def moved(part):
        embedding = (centres[part.category] + rng.standard_normal(part.embedding.shape)).astype(np.float32)
        return Part(embedding / np.linalg.norm(embedding, axis=1, keepdims=True), part.rewards, part.category)

    return moved(train), moved(validation), moved(test)


@pytest.mark.parametrize("categories", [2, 3])
def test_probabilities_are_scikit_learns(categories):
    train, validation, test = clusters(categories=categories)
    classifier = CategoryClassifier([10.0])
    classifier.fit(train.batches(), validation.batches(), categories)
    judge = LogisticRegression(C=10.0, max_iter=200).fit(train.embedding.astype(float), train.category)
    got = classifier.probabilities(torch.from_numpy(test.embedding)).numpy()
    np.testing.assert_allclose(got, judge.predict_proba(test.embedding.astype(float)), atol=1e-9)
    assert (classifier.codes(torch.from_numpy(test.embedding)).numpy() == test.category).mean() > 0.8


def test_scores_are_means_weighted_by_probability():
    train, validation, test = clusters()
    router = SoftCategoryMean()
    router.prepare(dimensions(train))
    router.fit(train.batches(), validation.batches())
    means = np.stack([train.rewards[train.category == c].mean(axis=0) for c in range(3)])
    probability = router.classifier.probabilities(torch.from_numpy(test.embedding)).numpy()
    np.testing.assert_allclose(scores(router, test), probability @ means)
    unknown = Part(test.embedding, test.rewards, np.full(len(test), -1))
    np.testing.assert_array_equal(scores(router, unknown), scores(router, test))  # the category is not looked at


def test_no_or_one_category_is_the_global_mean():
    train, validation, test = problem()
    for code, categories in ((-1, 0), (0, 1)):
        router = SoftCategoryMean()
        router.prepare(Dimensions(12, 4, categories))
        parts = [Part(p.embedding, p.rewards, np.full(len(p), code)) for p in (train, validation)]
        router.fit(parts[0].batches(), parts[1].batches())
        np.testing.assert_allclose(scores(router, test), np.tile(train.rewards.mean(axis=0), (len(test), 1)))
        assert (router.classifier.codes(torch.from_numpy(test.embedding)) == code).all()


def test_a_category_that_train_does_not_have_is_never_predicted():
    train, validation, test = clusters()
    only = train.take(np.flatnonzero(train.category != 1))
    router = SoftCategoryMean()
    router.prepare(dimensions(train))
    router.fit(only.batches(), validation.batches())
    assert 1 not in router.classifier.codes(torch.from_numpy(test.embedding))
    given = CategoryMean()
    given.prepare(dimensions(train))
    given.fit(only.batches(), ())
    np.testing.assert_allclose(router.category_mean.means, given.means)


def test_a_large_table_sorted_by_category_teaches_all_of_them(monkeypatch):
    monkeypatch.setattr("erp.routers.classifier.MOST_ROWS", 80)
    train, validation, test = clusters()
    ordered = train.take(np.argsort(train.category, kind="stable"))
    classifier = CategoryClassifier([10.0])
    classifier.fit(ordered.batches(50), validation.batches(), 3)
    codes = classifier.codes(torch.from_numpy(test.embedding)).numpy()
    assert set(codes) == {0, 1, 2}
    assert (codes == test.category).mean() > 0.8
