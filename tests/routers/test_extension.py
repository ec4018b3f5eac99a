"""Judges: scikit-learn's RidgeCV, leave-one-out by refitting n times, and numbers worked by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Judge
from sklearn.linear_model import RidgeCV

from erp.errors import ErpError
from erp.routers.category_mean import CategoryMean
from erp.routers.extended import Extended
from erp.routers.extension import (
    Solution,
    chosen_head,
    fit_clusters,
    fit_heads,
    least,
    ridges,
    smoothest,
    towards_mean_head,
    unlabelled_clusters,
    worse,
)
from erp.routers.knn import KNN
from erp.routers.mlp import MLP
from erp.routers.ridge import RELATIVE_ALPHAS, Ridge
from erp.routers.training_loop import train_by_gradient
from tests.routers.problems import dimensions, problem, scores


def labels(n=25, d=6, members=4, seed=0, noise=0.3):
    """Embeddings, the others' scores by linear heads (with those heads), rewards of a member near their mean."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    heads, intercepts = rng.standard_normal((d, members)), rng.standard_normal(members)
    rewards = x @ (heads.mean(axis=1) + 0.3 * rng.standard_normal(d)) + 0.5 + noise * rng.standard_normal(n)
    return x, x @ heads + intercepts, rewards, heads, intercepts


def refitted_without_each(x, y, alpha):
    """Squared errors of ridges fitted n times, on all labels but one."""
    errors = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        if np.isinf(alpha) or x.shape[1] == 0:
            predicted = y[rest].mean()
        else:
            predicted = Judge(alpha=alpha).fit(x[rest], y[rest]).predict(x[[i]])[0]
        errors.append((y[i] - predicted) ** 2)
    return np.array(errors)


@pytest.mark.parametrize(("n", "d"), [(25, 6), (8, 20), (3, 1)])
def test_leave_one_out_errors_are_those_of_refitting_without_each_label(n, d):
    x, _, y, *_ = labels(n, d)
    solutions = ridges(x, y)
    assert len(solutions) == len(RELATIVE_ALPHAS) + 1
    for solution in solutions[::5]:
        np.testing.assert_allclose(solution.errors, refitted_without_each(x, y, solution.alpha), rtol=1e-5, atol=1e-12)


def test_a_ridge_from_scratch_is_scikit_learn_s_ridgecv():
    x, others, y, *_ = labels(40, 12, noise=1.0)
    alphas = [solution.alpha for solution in ridges(x, y)][1:]
    judge = RidgeCV(alphas=sorted(alphas)).fit(x, y)
    head = fit_heads(x, others, y)["scratch"]
    assert head.alpha == pytest.approx(judge.alpha_, rel=1e-12)
    np.testing.assert_allclose(head.weight, judge.coef_, rtol=1e-9)
    assert head.intercept == pytest.approx(judge.intercept_, rel=1e-9)
    assert not head.mix.any()
    np.testing.assert_allclose(head.scores(others, x), judge.predict(x), rtol=1e-9)


def test_degrees_of_freedom_are_the_trace_of_the_smoother():
    x, _, y, *_ = labels(12, 5)
    for solution in ridges(x, y)[::6]:
        trace = sum(
            solution_of(x, np.eye(12)[i], solution.alpha)[i] for i in range(12)
        )  # the response of a label to itself
        assert solution.freedom == pytest.approx(trace, rel=1e-9)


def solution_of(x, y, alpha):
    return np.full(len(y), y.mean()) if np.isinf(alpha) else Judge(alpha=alpha).fit(x, y).predict(x)


def test_the_shrunk_head_is_a_ridge_on_what_the_mean_head_leaves():
    x, others, y, heads, intercepts = labels(60, 6, noise=0.1)
    head = fit_heads(x, others, y)["shrunk"]
    assert np.isfinite(head.alpha)
    residual = y - others.mean(axis=1)
    judge = Judge(alpha=head.alpha).fit(x, residual)
    np.testing.assert_allclose(head.weight, judge.coef_, rtol=1e-8)
    # where the others are linear the new head is the mean head plus that weight
    whole = heads @ head.mix + head.weight
    np.testing.assert_allclose(whole, heads.mean(axis=1) + judge.coef_, rtol=1e-8)
    predicted = x @ whole + intercepts.mean() + head.intercept
    np.testing.assert_allclose(head.scores(others, x), predicted, rtol=1e-9)
    # the level is shrunk by hand: tau^2 / (tau^2 + s^2 / n)
    levels = (others - others.mean(axis=1, keepdims=True)).mean(axis=0)
    between = ((levels**2).sum() + residual.mean() ** 2) / 4
    weight = between / (between + head.errors.mean() / 60)
    assert 0.9 < weight < 1
    assert head.intercept == pytest.approx(weight * residual.mean() - x.mean(axis=0) @ judge.coef_, rel=1e-8)


def test_low_rank_is_a_ridge_on_the_others_scores_about_their_mean():
    x, others, y, *_ = labels(60, 6, noise=0.1)
    about = others - others.mean(axis=1, keepdims=True)
    head = fit_heads(x, others, y)["low_rank"]
    judge = Judge(alpha=head.alpha).fit(about, y - others.mean(axis=1))
    np.testing.assert_allclose(head.mix, 0.25 + judge.coef_, rtol=1e-7, atol=1e-10)
    assert head.mix.sum() == pytest.approx(1)
    assert not head.weight.any()


def test_low_rank_finds_a_member_in_the_span_of_the_others():
    x, others, _, *_ = labels(30, 50, members=3)
    wanted = np.array([0.9, -0.4, 0.5])
    x_new, others_new, _, *_ = labels(20, 50, members=3, seed=1)
    noise = 0.01 * np.random.default_rng(2).standard_normal(30)
    head = fit_heads(x, others, others @ wanted + 2 + noise)["low_rank"]
    np.testing.assert_allclose(head.scores(others_new, x_new), others_new @ wanted + 2, atol=0.05)


def test_a_member_that_is_the_mean_head_with_another_level_gets_nothing_else():
    x, others, *_ = labels(30)
    heads = fit_heads(x, others, others.mean(axis=1) + 3.0)
    for name in ("shrunk", "low_rank"):
        assert heads[name].alpha == np.inf
        np.testing.assert_allclose(heads[name].scores(others, x), others.mean(axis=1) + 3.0, rtol=1e-12)
    assert chosen_head(heads).method == "shrunk"


def test_of_labels_that_say_little_only_the_mean_head_stays():
    """Pure noise about the mean head, drawn twenty times: the weight is 0 most of the time."""
    infinite = []
    for seed in range(20):
        x, others, *_ = labels(16, 40, seed=seed)
        y = others.mean(axis=1) + np.random.default_rng(100 + seed).standard_normal(16)
        infinite.append(fit_heads(x, others, y)["shrunk"].alpha == np.inf)
    assert np.mean(infinite) >= 0.8


def test_permuting_the_others_or_the_labels_changes_nothing():
    x, others, y, *_ = labels()
    order, rows = np.array([2, 0, 3, 1]), np.random.default_rng(3).permutation(25)
    heads, other_way = fit_heads(x, others, y), fit_heads(x[rows], others[rows][:, order], y[rows])
    for name, head in heads.items():
        np.testing.assert_allclose(other_way[name].mix, head.mix[order], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(other_way[name].weight, head.weight, rtol=1e-7, atol=1e-9)
        assert other_way[name].intercept == pytest.approx(head.intercept, rel=1e-7)


def of_errors(errors, freedom, level=0.0):
    return Solution(np.zeros(1), np.zeros(1), level, 1.0, freedom, np.asarray(errors, dtype=float))


def test_the_smoothest_within_one_standard_error_by_hand():
    best = of_errors([1.0, 1.0, 1.0, 1.0], 5)
    # differences 2, -1, 2, -1: mean .5, standard error sqrt(3) / 2 = .866
    near, far = of_errors([3, 0, 3, 0], 3), of_errors([2, 2, 2, 2.001], 1)
    assert worse(far.errors, best.errors)
    assert not worse(near.errors, best.errors)
    assert least([far, near, best]) is best
    assert smoothest([far, near, best]) is near
    assert least([near, near]) is near


def test_auto_leaves_the_shrunk_head_only_for_one_that_is_clearly_better():
    x, others, y, *_ = labels(30)
    heads = fit_heads(x, others, y)
    unlike = fit_heads(x, others, -others.mean(axis=1) * 3 + x[:, 0])  # what the mean head says is of no use
    assert chosen_head(heads).method == "shrunk"
    assert chosen_head(unlike).method == "scratch"


def test_the_level_is_shrunk_by_its_own_noise_by_hand():
    about = np.array([[1.0, -1.0], [3.0, -3.0]])  # levels 2 and -2
    solution = of_errors([1.0, 3.0], 1, level=4.0)
    # tau^2 = (4 + 4 + 16) / 2 = 12, s^2 / n = 2 / 2 = 1
    assert towards_mean_head(solution, about).level == pytest.approx(4 * 12 / 13)
    alike = towards_mean_head(of_errors([0.01, 0.01], 1, level=4.0), np.zeros((2, 3)))  # others that are all the same
    assert alike.level == pytest.approx(4, rel=0.01)
    assert towards_mean_head(of_errors([0.0, 0.0], 1, level=0.0), np.zeros((2, 2))).level == 0


def test_uniroute_by_hand():
    """Two clusters, three labels in one and one in the other, none in a third."""
    x = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    y = np.array([1.0, 0.0, 0.5, 0.9])
    centers = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    plain = fit_clusters(x, y, [centers], [0.0])
    np.testing.assert_allclose(plain.means, [0.5, 0.9, 0.6])  # an empty cluster takes the mean of all labels
    shrunk = fit_clusters(x, y, [centers], [2.0])
    np.testing.assert_allclose(shrunk.means, [(1.5 + 1.2) / 5, (0.9 + 1.2) / 3, 0.6])
    there = np.array([[0.1, 0.9], [-0.9, 0.1], [0.8, 0.2]])
    np.testing.assert_allclose(plain.scores(np.zeros((3, 1)), there), [0.9, 0.6, 0.5])


@pytest.mark.parametrize("kappa", [0.0, 3.0])
def test_uniroute_s_leave_one_out_errors_are_those_of_refitting(kappa):
    x, _, y, *_ = labels(18, 3)
    centers = unlabelled_clusters(x.astype(np.float32), 0)[0]
    head = fit_clusters(x, y, [centers], [kappa])
    for i in range(18):
        rest = np.arange(18) != i
        without = fit_clusters(x[rest], y[rest], [centers], [kappa])
        assert head.errors[i] == pytest.approx((y[i] - without.scores(None, x[[i]])[0]) ** 2, rel=1e-9)


def test_uniroute_takes_the_clusters_and_kappa_of_least_error():
    x, _, y, *_ = labels(30, 3)
    centers = unlabelled_clusters(labels(200, 3, seed=5)[0].astype(np.float32), 0)
    assert [len(points) for points in centers] == [4, 8, 16, 32, 64]
    alone = [fit_clusters(x, y, [points], [kappa]) for points in centers for kappa in (0.0, 5.0)]
    best = min(alone, key=lambda head: head.errors.mean())
    both = fit_clusters(x, y, centers, [0.0, 5.0])
    assert (len(both.means), both.kappa) == (len(best.means), best.kappa)
    np.testing.assert_array_equal(both.means, best.means)


def test_clusters_are_of_as_many_prompts_as_there_are():
    assert [len(points) for points in unlabelled_clusters(np.eye(3, dtype=np.float32), 0)] == [3]


@pytest.mark.parametrize("rewards", [np.array([1.0]), np.zeros(0), np.array([1.0, np.nan, 0.0])])
def test_too_few_labels_are_refused_by_name(rewards):
    n = len(rewards)
    with pytest.raises(ErpError, match=f"labels = {n}: "):
        fit_heads(np.zeros((n, 3)), np.zeros((n, 2)), rewards)
    with pytest.raises(ErpError, match=f"labels = {n}: "):
        fit_clusters(np.zeros((n, 3)), rewards, [torch.zeros(1, 3)])


@pytest.mark.parametrize(
    ("n", "members", "case"), [(2, 3, ""), (10, 1, ""), (10, 3, "same prompt"), (10, 3, "equal rewards")]
)
def test_oddities_give_finite_heads(n, members, case):
    x, others, y, *_ = labels(n, members=members)
    if case == "same prompt":
        x[:], others[:] = x[0], others[0]
    if case == "equal rewards":
        y[:] = 0.25
    heads = fit_heads(x, others, y)
    for head in [*heads.values(), chosen_head(heads), fit_clusters(x, y, unlabelled_clusters(np.float32(x), 0))]:
        assert np.isfinite(head.scores(others, x)).all()
    if case:
        np.testing.assert_allclose(heads["scratch"].scores(others, x), np.full(n, y.mean()), rtol=1e-12)


def bases(train, validation):
    """Routers of several kinds, trained."""
    for router in (Ridge(), KNN(k=5), CategoryMean(), MLP(hidden=[8])):
        router.prepare(dimensions(train))
        if router.closed_form:
            router.fit(train.batches(), validation.batches())
        else:
            train_by_gradient(router, train.batches(), validation.batches(), max_epochs=3)
        yield router.eval()


def joined(base, part, method, seed=0):
    """The base extended by a member whose rewards are those of the first one, with noise."""
    rng = np.random.default_rng(seed)
    there, x = scores(base, part), part.embedding.astype(np.float64)
    y = there.mean(axis=1) + x[:, 0] + 0.1 * rng.standard_normal(len(part))
    heads = {**fit_heads(x, there, y), "uniroute": fit_clusters(x, y, unlabelled_clusters(part.embedding, 0))}
    router = Extended(base, "new", method, len(part))
    router.take(heads[method])
    return router.eval(), heads[method]


@pytest.mark.parametrize("method", ["scratch", "shrunk", "low_rank", "uniroute"])
def test_an_extended_router_keeps_the_base_and_adds_the_head(method):
    train, validation, test = problem()
    for base in bases(train, validation):
        before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
        router, head = joined(base, validation, method)
        assert router.reads_category == base.reads_category
        assert router.joined()["method"] == method
        assert router.chosen() == base.chosen()
        for name, tensor in router.base.state_dict().items():
            assert tensor.numpy().tobytes() == before[name].numpy().tobytes(), name  # NaN too
        found = scores(router, test)
        np.testing.assert_array_equal(found[:, :-1], scores(base, test))
        expected = head.scores(scores(base, test), test.embedding.astype(np.float64))
        np.testing.assert_allclose(found[:, -1], expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["low_rank", "uniroute"])
def test_saved_and_loaded_it_gives_the_same_scores_and_so_does_one_extended_twice(method):
    train, validation, test = problem()
    base = next(bases(train, validation))
    once, _ = joined(base, validation, "shrunk")
    twice, _ = joined(once, validation, method, seed=1)
    fresh = Extended(Extended(Ridge(), "new", "shrunk", 60), "new", method, 60)
    fresh.prepare(dimensions(train.members(np.array([0, 1, 2, 3, 0, 0]))))
    fresh.load_state_dict(twice.state_dict())
    found = scores(fresh, test)
    assert found.shape == (50, 6)
    np.testing.assert_array_equal(found, scores(twice, test))
    np.testing.assert_array_equal(found[:, :5], scores(once, test))
    assert fresh.joined() == twice.joined()
    singles = np.concatenate([scores(fresh, test.take(np.array([i]))) for i in range(50)])
    np.testing.assert_allclose(singles, found, rtol=1e-9)


def test_it_is_not_trained_and_needs_labels():
    train, validation, _ = problem()
    router = Extended(Ridge(), "new", "auto", 5, run="ridge-abc")
    with pytest.raises(ErpError, match="train the run ridge-abc"):
        router.fit(train.batches(), validation.batches())
    with pytest.raises(ErpError, match=r"router\.labels = 1"):
        Extended(Ridge(), "new", "auto", 1)
