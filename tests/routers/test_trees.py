"""Trees and support vectors that are kept as numbers predict what scikit-learn's own objects do."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.svm import LinearSVR

from erp.errors import ErpError
from erp.routers.base import Dimensions, Router
from erp.routers.gradient_boosting import GradientBoosting
from erp.routers.random_forest import RandomForest
from erp.routers.svr import SVR
from tests.routers.problems import Part, dimensions, problem, scores


def fitted(router: Router, train: Part, validation: Part) -> Router:
    router.prepare(dimensions(train))
    router.fit(train.batches(50), validation.batches(50))
    return router


def by_content(part: Part, member: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The member's prompts in the order of their bytes, its rewards in standard deviations about their mean, and both.

    Rewards are in steps of a millionth: else rounding decides which of two equally good splits a tree takes.
    """
    there = np.flatnonzero(~np.isnan(part.rewards[:, member]))
    there = np.array(sorted(there, key=lambda row: part.embedding[row].tobytes()))
    rewards = part.rewards[there, member]
    mean, deviation = rewards.mean(), rewards.std()
    return part.embedding[there], np.round((rewards - mean) / deviation * 2**20) / 2**20, mean, deviation


def test_a_forest_predicts_what_scikit_learn_s_does():
    train, validation, test = problem(missing=0.2)
    router = fitted(RandomForest(trees=9, depth=6, leaf=2, seed=3), train, validation)
    for member in range(4):
        x, y, mean, deviation = by_content(train, member)
        forest = RandomForestRegressor(9, max_depth=6, min_samples_leaf=2, max_features="sqrt", random_state=3)
        expected = mean + deviation * forest.fit(x, y).predict(test.embedding)
        np.testing.assert_allclose(scores(router, test)[:, member], expected, atol=1e-5)


@pytest.mark.parametrize("tail", [0, 3])
def test_boosting_predicts_what_scikit_learn_s_does_with_as_many_trees_as_are_best_on_validation(tail):
    train, validation, test = problem(sizes=(300, 60, 50), missing=0.2)
    router = fitted(GradientBoosting(components=5, tail=tail, trees=25, learning_rate=0.3, leaves=6), train, validation)

    body = PCA(5).fit(train.embedding[:, : 12 - tail].astype(float))
    signs = np.sign(np.sum(body.components_ * router.directions.numpy().T, axis=1))

    def seen(embedding):
        cut = embedding[:, : 12 - tail].astype(float)
        return np.hstack([signs * body.transform(cut), embedding[:, 12 - tail :]]).astype(np.float32)

    staged, found = [], scores(router, test)
    for member in range(4):
        x, y, mean, deviation = by_content(train, member)
        model = HistGradientBoostingRegressor(
            max_iter=25, learning_rate=0.3, max_leaf_nodes=6, early_stopping=False, random_state=0
        ).fit(seen(x), y)
        parts = (model.staged_predict(seen(part.embedding)) for part in (validation, test))
        staged.append([mean + deviation * np.array(list(part)) for part in parts])
    wrong = [(s[0] - rewards) ** 2 for s, rewards in zip(staged, validation.rewards.T, strict=True)]
    errors = np.nansum(wrong, axis=(0, 2))
    best = int(errors.argmin())
    assert router.chosen() == {"trees": best + 1}
    assert 0 < best < 24
    np.testing.assert_allclose(found.T, [s[1][best] for s in staged], atol=1e-3)


def test_a_support_vector_regression_predicts_what_scikit_learn_s_does_with_the_best_strength():
    train, validation, test = problem(missing=0.2)
    router = fitted(SVR(strengths=(0.001, 0.1), epsilon=0.1), train, validation)
    predicted = {}
    for strength in (0.001, 0.1):
        for part in (validation, test):
            columns = []
            for member in range(4):
                x, y, mean, deviation = by_content(train, member)
                model = LinearSVR(C=strength, epsilon=0.1, random_state=0).fit(x.astype(float), y)
                columns.append(mean + deviation * model.predict(part.embedding))
            predicted[strength, len(part)] = np.transpose(columns)
    errors = {c: np.nansum((predicted[c, 60] - validation.rewards) ** 2) for c in (0.001, 0.1)}
    best = min(errors, key=errors.get)
    assert router.chosen() == {"C": best}
    np.testing.assert_allclose(scores(router, test), predicted[best, 50], atol=1e-4)


@pytest.mark.parametrize("maker", [RandomForest, GradientBoosting, SVR])
def test_a_member_without_a_reward_has_the_mean_of_the_others(maker):
    train, validation, test = problem()
    train.rewards[:, 2] = np.nan
    expected = np.mean([train.rewards[:, m].mean() for m in (0, 1, 3)])
    np.testing.assert_allclose(scores(fitted(maker(), train, validation), test)[:, 2], expected)


BAD = [
    (RandomForest, {"trees": 0}, "router.trees = 0"),
    (RandomForest, {"depth": 0}, "router.depth = 0"),
    (RandomForest, {"leaf": 0}, "router.leaf = 0"),
    (RandomForest, {"seed": -1}, "router.seed = -1"),
    (GradientBoosting, {"components": 0}, "router.components = 0"),
    (GradientBoosting, {"leaves": 1}, "router.leaves = 1"),
    (GradientBoosting, {"tail": -1}, "router.tail = -1"),
    (GradientBoosting, {"learning_rate": 0.0}, "router.learning_rate = 0.0"),
    (SVR, {"strengths": ()}, "router.strengths"),
    (SVR, {"strengths": (0.0,)}, "router.strengths"),
    (SVR, {"epsilon": -1.0}, "router.epsilon = -1.0"),
]


@pytest.mark.parametrize(("maker", "arguments", "message"), BAD)
def test_a_bad_setting_is_refused_by_name(maker, arguments, message):
    with pytest.raises(ErpError, match=message):
        maker(**arguments)


def test_a_tail_that_is_all_of_the_vector_is_refused():
    with pytest.raises(ErpError, match=r"router.tail = 12: the backbone's vectors have 12 numbers"):
        GradientBoosting(tail=12).prepare(Dimensions(12, 3, 0))
