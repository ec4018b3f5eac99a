"""The classifier of categories on many prompts: scikit-learn solves the same problem to the end."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from erp.routers import classifier as module
from erp.routers.classifier import CategoryClassifier, learnt_from
from erp.routers.logistic import logistic_path
from tests.routers.problems import Part


def blobs(n=1500, d=24, classes=4, seed=0):
    """Classes that overlap, on directions of very different width, as embeddings have; rows of length one."""
    rng = np.random.default_rng(seed)
    code = rng.integers(classes, size=n)
    x = (
        np.random.default_rng(99).standard_normal((classes, d))[code] + 1.5 * rng.standard_normal((n, d))
    ) * np.logspace(0, -2, d)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), code


def penalised(x, code, weight, bias, strength):
    """Scikit-learn's objective; with two classes it has one vector, the difference of the two."""
    loss = -log_softmax(x @ weight + bias, axis=1)[np.arange(len(code)), code].mean()
    squares = (weight**2).sum() if weight.shape[1] > 2 else ((weight[:, 1] - weight[:, 0]) ** 2).sum()
    return loss + squares / (2 * len(code) * strength)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_path_is_nearer_to_the_optimum_than_scikit_learn_goes(classes):
    x, code = blobs(classes=classes)
    strengths = (1.0, 10.0, 100.0)
    for strength, (weight, bias) in zip(strengths, logistic_path(x, code, strengths), strict=True):
        wide = x.astype(np.float64)
        usual, exact = (
            LogisticRegression(C=strength, max_iter=20_000, tol=tol).fit(wide, code) for tol in (1e-4, 1e-10)
        )
        least, near = (penalised(wide, code, *both(model), strength) for model in (exact, usual))
        assert least - 1e-9 <= penalised(wide, code, weight, bias, strength) <= near + 1e-8
        difference = np.exp(log_softmax(wide @ weight + bias, axis=1)) - exact.predict_proba(wide)
        assert np.abs(difference).max() < 2e-3


def both(model):
    if len(model.coef_) > 1:
        return model.coef_.T, model.intercept_
    return np.concatenate([-model.coef_, model.coef_]).T / 2, np.concatenate([-model.intercept_, model.intercept_]) / 2


def part(x, code):
    return Part(x, np.zeros((len(x), 2)), code)


def test_many_prompts_choose_the_strength_of_least_log_loss(monkeypatch):
    monkeypatch.setattr(module, "PLAIN_ROWS", 100)
    train, validation, test = (part(*blobs(n, seed=seed)) for seed, n in enumerate((1500, 500, 500)))
    classifier = CategoryClassifier()
    classifier.fit(train.batches(), validation.batches(), 5)
    wide = [p.embedding.astype(np.float64) for p in (train, validation, test)]
    models = [LogisticRegression(C=c, max_iter=20_000, tol=1e-10).fit(wide[0], train.category) for c in (1, 10, 100)]
    judge = min(models, key=lambda m: -m.predict_log_proba(wide[1])[np.arange(500), validation.category].mean())
    found = classifier.probabilities(torch.from_numpy(test.embedding)).numpy()
    np.testing.assert_allclose(found[:, :4], judge.predict_proba(wide[2]), atol=0.01)
    assert (found[:, 4] == 0).all()  # a category that train does not have


def test_prompts_are_taken_from_all_over_the_table(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    category = np.repeat([0, -1, 1], 40)
    taken = learnt_from(category)
    np.testing.assert_array_equal(taken, [*range(0, 40, 8), *range(80, 120, 8)])
    np.testing.assert_array_equal(learnt_from(category[taken]), np.arange(10))  # what was taken is taken whole
    assert learnt_from(np.full(5, -1)).tolist() == []


def test_what_is_learnt_is_named_by_all_that_it_depends_on():
    train, validation = part(*blobs(200)), part(*blobs(60, seed=1))
    names, kept = [], {}

    def once(name, learn):
        names.append(name)
        return kept.setdefault(name, learn())

    def fitted(train, validation, categories=4, strengths=(1.0, 10.0)):
        classifier = CategoryClassifier(strengths)
        classifier.fit(train.batches(64), validation.batches(64), categories, once)
        return classifier

    first = fitted(train, validation)
    assert torch.equal(fitted(train, validation).weight, first.weight)
    assert len(set(names)) == 1
    other = train.embedding.copy()
    other[0, 0] += 1e-6
    fitted(part(other, train.category), validation)
    fitted(part(train.embedding, np.roll(train.category, 1)), validation)
    fitted(train, part(validation.embedding[1:], validation.category[1:]))
    fitted(train, validation, 5)
    fitted(train, validation, strengths=(1.0,))
    assert len(set(names)) == 6
