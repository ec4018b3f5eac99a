"""What holds for every router that ships, whatever it computes: one test per rule, over all of conf/router."""

import numpy as np
import pytest
import torch
import yaml

from erp.build import build
from erp.compose import conf_folder
from erp.routers.base import Dimensions, Router
from erp.training.trained import load_module
from tests.routers.problems import Part, problem, scores
from tests.training.tables import routing_data, trained

NODES = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((conf_folder() / "router").glob("*.yaml"))}
every_router = pytest.mark.parametrize("name", NODES)
CATEGORIES = 3


def built(name: str) -> Router:
    return build(NODES[name], Router, key="router")


def fitted(name: str, train: Part, validation: Part, size: int = 64) -> Router:
    """Closed forms in memory; a router with a loss needs a trainer, and the test that adds one adds it here."""
    router = built(name)
    torch.manual_seed(0)
    router.prepare(Dimensions(train.embedding.shape[1], train.rewards.shape[1], CATEGORIES))
    assert router.closed_form
    router.fit(train.batches(size), validation.batches(size))
    return router


@pytest.fixture
def parts():
    return problem(missing=0.15, categories=CATEGORIES)


def test_all_routers_are_here():
    assert sorted(NODES) == ["category_mean", "knn", "ridge"]


@every_router
def test_it_declares_what_it_is(name):
    router = built(name)
    assert router.scale in ("reward", "ordinal")
    assert isinstance(router.reads_category, bool)
    assert isinstance(router.closed_form, bool)
    assert NODES[name]["name"] == name


@every_router
def test_scores_are_finite_one_per_member(name, parts):
    train, validation, test = parts
    found = scores(fitted(name, train, validation), test)
    assert found.shape == test.rewards.shape
    assert np.isfinite(found).all()


@every_router
def test_fitting_again_gives_the_same_bits(name, parts):
    train, validation, test = parts
    one, again = (scores(fitted(name, train, validation), test) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@every_router
def test_scores_follow_their_members(name, parts):
    train, validation, test = parts
    order = np.array([2, 0, 3, 1])
    permuted = scores(fitted(name, train.members(order), validation.members(order)), test)
    np.testing.assert_allclose(permuted, scores(fitted(name, train, validation), test)[:, order], rtol=1e-9)


@every_router
def test_order_of_train_rows_does_not_matter(name, parts):
    train, validation, test = parts
    shuffled = train.take(np.random.default_rng(0).permutation(len(train)))
    np.testing.assert_allclose(
        scores(fitted(name, shuffled, validation, size=31), test),
        scores(fitted(name, train, validation), test),
        rtol=1e-9,
    )


@every_router
@pytest.mark.parametrize("where", ["train", "validation"])
def test_a_prompt_without_any_reward_changes_nothing(name, parts, where):
    train, validation, test = parts
    empty = test.with_rewards(np.full_like(test.rewards, np.nan))
    more = [Part(*(np.concatenate(pair) for pair in zip(vars(part).values(), vars(empty).values(), strict=True)))
            for part in (train, validation)]  # fmt: skip
    with_it = fitted(name, more[0], validation) if where == "train" else fitted(name, train, more[1])
    np.testing.assert_allclose(scores(with_it, test), scores(fitted(name, train, validation), test), rtol=1e-9)


@every_router
def test_the_bits_behind_a_missing_cell_do_not_matter(name, parts):
    """A NaN may carry any payload and sign."""
    train, validation, test = parts
    odd = train.rewards.copy()
    odd.view(np.uint64)[np.isnan(odd)] = 0xFFF8_0000_DEAD_BEEF
    assert np.array_equal(np.isnan(odd), np.isnan(train.rewards))
    found = scores(fitted(name, train.with_rewards(odd), validation), test)
    np.testing.assert_array_equal(found, scores(fitted(name, train, validation), test))


@every_router
def test_a_member_s_missing_cells_do_not_touch_the_others(name, parts):
    train, validation, test = problem(categories=CATEGORIES)
    fixed = {"ridge": {"alphas": [1.0]}, "knn": {"k": 10}}  # what is chosen is chosen for all members together
    rewards = train.rewards.copy()
    rewards[::3, 1] = np.nan

    def of(rewards):
        router = build({**NODES[name], **fixed.get(name, {})}, Router, key="router")
        router.prepare(Dimensions(12, 4, CATEGORIES))
        router.fit(train.with_rewards(rewards).batches(50), validation.batches())
        return scores(router, test)

    with_holes, whole = of(rewards), of(train.rewards)
    np.testing.assert_allclose(with_holes[:, [0, 2, 3]], whole[:, [0, 2, 3]], rtol=1e-9)
    assert not np.allclose(with_holes[:, 1], whole[:, 1], rtol=1e-6)


@every_router
def test_a_batch_scores_as_its_prompts_one_by_one(name, parts):
    train, validation, test = parts
    router = fitted(name, train, validation)
    singles = np.concatenate([scores(router, test.take(np.array([i]))) for i in range(len(test))])
    np.testing.assert_allclose(singles, scores(router, test), rtol=1e-9)


@every_router
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    data = routing_data(missing=0.1)
    module, datamodule = trained(data, NODES[name], tmp_path)
    again = load_module(tmp_path / "checkpoint.ckpt")
    for batch in datamodule.test_dataloader():
        with torch.no_grad():
            expected = module.router.scores(batch.features)
            np.testing.assert_array_equal(again.router.scores(batch.features), expected)
    assert again.router.chosen() == module.router.chosen()
    assert again.card == module.card


@every_router
def test_it_beats_random_and_the_best_single_on_rewards_that_the_prompt_tells(name):
    train, validation, test = problem(sizes=(400, 100, 200), categories=CATEGORIES)
    chosen = scores(fitted(name, train, validation), test).argmax(axis=1)
    routed = test.rewards[np.arange(len(test)), chosen].mean()
    assert routed > test.rewards.mean() + 0.5
    assert routed > test.rewards[:, np.nanmean(train.rewards, axis=0).argmax()].mean()
