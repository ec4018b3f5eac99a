"""What holds for every router that ships, whatever it computes: one test per rule, over all of conf/router."""

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from erp.build import build
from erp.compose import options
from erp.decisions.choice import choose
from erp.routers.base import Batch, Dimensions, Router
from erp.routers.fitting import fit_router
from erp.trained.checkpoint import load_bundle
from tests.routers.problems import PAIRS, Part, in_few_epochs, problem, router_nodes, router_options, scores
from tests.training.tables import routing_data, trained

NODES = router_nodes() | {name: router_options()[name] for name in PAIRS}
NAMES = sorted(NODES)
SOLVED = [name for name in NAMES if build(NODES[name], Router, key="router").closed_form]
CATEGORIES = 3
# At lambda = 0 the dearest member answers: what they learn is whom else a price sends a prompt to.
OF_A_REFERENCE = ("best_route", "hybrid_llm")
# What makes a router of each member by itself: whatever is chosen, is chosen for all members together.
ALONE = {
    "ridge": {"alphas": [1.0]}, "knn": {"k": 10}, "category_mean": {}, "soft_category_mean": {},
    "cluster_mean": {"clusters": [8], "kappas": [5.0]}, "uniroute": {"clusters": [8]}, "random_forest": {"trees": 5},
}  # fmt: skip

every_router = pytest.mark.parametrize("name", NAMES)
every_solved_router = pytest.mark.parametrize("name", SOLVED)


def built(name: str) -> Router:
    return build(NODES[name], Router, key="router")


def fitted(name: str, train: Part, validation: Part, size: int = 64) -> Router:
    return fitted_to(name, train.batches(size), validation.batches(size))


def fitted_to(name: str, train: list[Batch], validation: list[Batch]) -> Router:
    router = built(name)
    torch.manual_seed(0)
    router.prepare(Dimensions(train[0].features.embedding.shape[1], train[0].rewards.shape[1], CATEGORIES))
    with in_few_epochs():
        fit_router(router, train, validation)
    return router


@functools.cache
def of_members(members: int) -> tuple[Part, Part, Part]:
    return problem(missing=0.15, categories=CATEGORIES, members=members)


def pool_of(name: str, most: int) -> int:
    """Of a pool for a router that takes two members, or as many as are wanted."""
    return 2 if name in PAIRS else most


def parts(name: str) -> tuple[Part, Part, Part]:
    """Seven members, a number that no other size in a router has; some cells are missing."""
    return of_members(pool_of(name, 7))


def other_order(name: str) -> np.ndarray:
    return np.array([1, 0] if name in PAIRS else [2, 0, 3, 1, 6, 5, 4])


@functools.cache
def known(name: str) -> Router:
    """Fitted on those parts, once for all tests that only look."""
    return fitted(name, *parts(name)[:2])


def tolerance(router: Router) -> float:
    """Closed forms compute in float64, networks in float32."""
    return 1e-9 if router.closed_form and not any(p.dtype == torch.float32 for p in router.parameters()) else 2e-5


def close(router: Router, one: np.ndarray, other: np.ndarray) -> None:
    size = max(float(np.abs(other).max()), 1e-12)
    np.testing.assert_allclose(one, other, rtol=tolerance(router), atol=tolerance(router) * size)


def test_all_routers_are_here():
    assert set(NAMES) == set(options("router"))
    assert {
        "auto", "avengers", "avengers_pro", "best_route", "bradley_terry", "category_mean", "cluster_mean",
        "embedllm", "gradient_boosting", "graph", "hierarchical_mean", "hybrid_llm", "irt", "kernel_ridge",
        "knn", "label_classifier", "label_knn", "label_svm", "low_rank", "matrix_factorisation",
        "mean_and_spread", "mlp", "p2l", "prox", "quantile", "random_forest", "ranking", "regret", "ridge",
        "routerdc", "similarity_weighted", "soft_category_mean", "stack", "svr", "uniroute", "zooter",
    } <= set(NAMES)  # fmt: skip


@every_router
def test_it_declares_what_it_is(name):
    router = built(name)
    assert router.scale in ("reward", "ordinal")
    assert isinstance(router.reads_category, bool)
    assert isinstance(router.learns_category, bool)
    assert isinstance(router.closed_form, bool)
    assert NODES[name]["name"] == name


@every_router
def test_scores_are_finite_one_per_member(name):
    test = parts(name)[2]
    found = scores(known(name), test)
    assert found.shape == test.rewards.shape
    assert np.isfinite(found).all()


@every_router
def test_fitting_again_gives_the_same_bits_whatever_is_behind_missing_cells_and_without_samples(name):
    """A NaN may carry any payload and sign; only a router that says so reads samples."""
    train, validation, test = parts(name)
    odd = train.rewards.copy()
    odd.view(np.uint64)[np.isnan(odd)] = 0xFFF8_0000_DEAD_BEEF
    assert np.array_equal(np.isnan(odd), np.isnan(train.rewards))
    batches = [part.batches(64) for part in (train.with_rewards(odd), validation)]
    if known(name).reads_samples:
        assert name in ("quantile", "auto", *OF_A_REFERENCE)
    else:
        batches = [[replace(batch, samples=None) for batch in part] for part in batches]
    np.testing.assert_array_equal(scores(fitted_to(name, *batches), test), scores(known(name), test))


@every_router
def test_permuting_the_members_of_a_trained_router_permutes_its_scores(name):
    test, order = parts(name)[2], torch.from_numpy(other_order(name))
    # Heads with several outputs a member: quantiles lie side by side, spreads behind the means.
    levels = len(NODES["quantile"]["levels"])
    orders = {len(order): order}
    if name in ("quantile", "auto"):
        orders[7 * levels] = (order[:, None] * levels + torch.arange(levels)).flatten()
    if name == "best_route":
        arms = NODES[name]["n"]
        orders[7 * arms] = (order[:, None] * arms + torch.arange(arms)).flatten()
    if name in ("mean_and_spread", "auto"):
        orders[14] = torch.cat([order, order + 7])
    router, permuted = known(name), copy.deepcopy(known(name))
    with torch.no_grad():
        for tensor in [*permuted.parameters(), *permuted.buffers()]:
            for axis, size in enumerate(tensor.shape):
                if size in orders:
                    tensor.copy_(tensor.index_select(axis, orders[size]).clone())
    close(router, scores(permuted, test), scores(router, test)[:, order.numpy()])


@every_solved_router
def test_scores_follow_their_members(name):
    train, validation, test = parts(name)
    order = other_order(name)
    permuted = fitted(name, train.members(order), validation.members(order))
    close(permuted, scores(permuted, test), scores(known(name), test)[:, order])


@every_solved_router
def test_order_of_train_rows_does_not_matter(name):
    train, validation, test = parts(name)
    shuffled = fitted(name, train.take(np.random.default_rng(0).permutation(len(train))), validation, size=31)
    close(shuffled, scores(shuffled, test), scores(known(name), test))


def with_empty(part: Part, more: Part) -> Part:
    """Followed by prompts without any reward, which are no others' rows."""
    empty = Part(more.embedding, np.full_like(more.rewards, np.nan), more.category, more.ids + 10_000)
    return Part(*(np.concatenate(pair) for pair in zip(vars(part).values(), vars(empty).values(), strict=True)))


@pytest.mark.parametrize("name", [name for name in SOLVED if name not in ("auto", "soft_category_mean", "stack")])
@pytest.mark.parametrize("where", ["train", "validation"])
def test_a_prompt_without_any_reward_changes_nothing(name, where):
    """But where categories are learnt, and where prompts are dealt out: there a prompt counts without a reward."""
    train, validation, test = parts(name)
    more = [with_empty(part, test) for part in (train, validation)]
    with_it = fitted(name, more[0], validation) if where == "train" else fitted(name, train, more[1])
    close(with_it, scores(with_it, test), scores(known(name), test))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SOLVED])
def test_a_prompt_without_any_reward_has_no_part_in_the_loss(name):
    (_, validation, test), router = parts(name), known(name)
    with torch.no_grad():
        alone = router.loss(validation.batch())
        beside = router.loss(with_empty(validation, test).batch())
        nothing = router.loss(validation.with_rewards(np.full_like(validation.rewards, np.nan)).batch())
    assert float(beside) == pytest.approx(float(alone), rel=1e-5)
    assert float(nothing) == 0.0


@pytest.mark.parametrize("name", ALONE)
def test_a_member_s_missing_cells_do_not_touch_the_others(name):
    train, validation, test = problem(categories=CATEGORIES)
    rewards = train.rewards.copy()
    rewards[::3, 1] = np.nan

    def of(rewards):
        router = build({**NODES[name], **ALONE[name]}, Router, key="router")
        router.prepare(Dimensions(12, 4, CATEGORIES))
        router.fit(train.with_rewards(rewards).batches(50), validation.batches())
        return scores(router, test)

    with_holes, whole = of(rewards), of(train.rewards)
    np.testing.assert_allclose(with_holes[:, [0, 2, 3]], whole[:, [0, 2, 3]], rtol=1e-9)
    assert not np.allclose(with_holes[:, 1], whole[:, 1], rtol=1e-6)


@every_router
def test_a_batch_scores_as_its_prompts_one_by_one(name):
    test, router = parts(name)[2], known(name)
    singles = np.concatenate([scores(router, test.take(np.array([i]))) for i in range(len(test))])
    close(router, singles, scores(router, test))


@every_router
def test_lambda_0_ignores_cost_and_lambda_infinity_takes_the_cheapest(name):
    found = scores(known(name), parts(name)[2])
    costs = np.array([3.0, 1.0, 2.0, 7.0, 5.0, 4.0, 6.0])[: found.shape[1]]
    best = found.max(axis=1)
    assert (found[np.arange(len(found)), choose(found, costs, 0.0)] == best).all()
    assert (choose(found, costs, np.inf) == 1).all()


@every_router
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    data = routing_data(missing=0.1, members=pool_of(name, 3))
    bundle, datamodule = trained(data, NODES[name], tmp_path)
    saved = load_bundle(tmp_path / "checkpoint.ckpt")
    again = load_bundle(tmp_path / "checkpoint.ckpt")
    for batch in datamodule.loader(data.split.test):
        with torch.no_grad():
            expected = bundle.router.eval().scores(batch.features)
            np.testing.assert_array_equal(again.router.eval().scores(batch.features), expected)
            np.testing.assert_array_equal(saved.router.eval().scores(batch.features), expected)
    assert again.router.chosen() == bundle.router.chosen()
    assert again.card == bundle.card
    assert again.router.scale == bundle.router.scale


@every_router
def test_a_pool_of_one_member_few_prompts_and_equal_rewards(name):
    train, validation, test = problem(sizes=(9, 4, 5), members=pool_of(name, 1), categories=CATEGORIES)
    assert scores(fitted(name, train, validation), test).shape == test.rewards.shape
    flat = [part.with_rewards(np.full_like(part.rewards, 0.5)) for part in parts(name)]
    found = scores(fitted(name, *flat[:2]), flat[2])
    assert np.isfinite(found).all()
    if built(name).scale == "reward":
        np.testing.assert_allclose(found, 0.5, atol=0.25)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_A_REFERENCE])
def test_it_beats_random_and_the_best_single_on_rewards_that_the_prompt_tells(name):
    train, validation, test = problem(sizes=(400, 100, 200), categories=CATEGORIES)
    chosen = scores(fitted(name, train, validation), test).argmax(axis=1)
    routed = test.rewards[np.arange(len(test)), chosen].mean()
    assert routed > test.rewards.mean() + 0.3
    # These embeddings tell rewards, and nothing of the category; and a global ranking does not look at them.
    if name not in ("soft_category_mean", "bradley_terry"):
        assert routed > test.rewards[:, np.nanmean(train.rewards, axis=0).argmax()].mean()
