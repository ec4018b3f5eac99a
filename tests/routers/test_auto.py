"""Auto and stack: routers made of routers."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from erp.build import build
from erp.compose import compose
from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.routers.auto import Auto
from erp.routers.base import Dimensions, Router
from erp.routers.category_mean import CategoryMean
from erp.routers.fitting import fit_router
from erp.routers.knn import KNN
from erp.routers.ridge import Ridge
from erp.routers.soft_category_mean import SoftCategoryMean
from erp.routers.stack import Stack
from tests.routers.problems import Part, dimensions, problem, scores


class Noise(Router):
    """Scores that say nothing: the same for every member, but for a prompt's own first number."""

    scale = "ordinal"
    closed_form = True

    def prepare(self, dimensions):
        self.members = dimensions.members

    def scores(self, features):
        return torch.sin(1e4 * features.embedding[:, : self.members].double())

    def fit(self, train, validation):
        pass


def fitted(router, train, validation, categories=3):
    router.prepare(dimensions(train, categories))
    router.fit(train.batches(40), validation.batches(40))
    return router


def cross_validated(candidate, train, validation, lambda_=0.0):
    """Utility by the plain definition: fitted on one half, three in four of it to learn from, scored on the other."""
    every = Part(*(np.concatenate(pair) for pair in zip(vars(train).values(), vars(validation).values(), strict=True)))
    order = np.random.default_rng((0, 0)).permutation(len(every)).argsort()  # each prompt is its own group here
    earned = []
    for seen in np.split(order, [len(order) // 2]):
        fresh = copy.deepcopy(candidate)
        fresh.prepare(dimensions(train))
        cut = -(-3 * len(seen) // 4)
        fit_router(fresh, every.take(np.sort(seen[:cut])).batches(), every.take(np.sort(seen[cut:])).batches())
        test = every.take(np.setdiff1d(order, seen))
        complete = test.take(np.flatnonzero(~np.isnan(test.rewards).any(axis=1)))
        chosen = choose(scores(fresh, complete), np.ones(4), lambda_)
        earned.append(complete.rewards[np.arange(len(complete)), chosen] - lambda_)
    return np.concatenate(earned).mean()


def test_the_winner_is_the_one_of_clearly_most_cross_validated_utility():
    train, validation, test = problem(missing=0.05)
    candidates = {"noise": Noise(), "knn": KNN(k=10), "ridge": Ridge()}
    plain = {name: cross_validated(candidate, train, validation) for name, candidate in candidates.items()}
    auto = fitted(Auto(copy.deepcopy(candidates), folds=2), train, validation)
    told = auto.chosen()
    assert {name: told[f"utility of {name}"] for name in candidates} == pytest.approx(plain)
    assert told["router"] == max(plain, key=plain.get) == "ridge"
    alone = fitted(Ridge(), train, validation)
    np.testing.assert_array_equal(scores(auto, test), scores(alone, test))  # fitted on train, chosen on validation
    assert auto.scale == "reward"
    assert auto.chosen()["alpha"] == alone.chosen()["alpha"]


def test_of_candidates_that_do_as_well_the_first_wins():
    train, validation, _ = problem()
    for names in (("ridge", "again"), ("again", "ridge")):
        auto = fitted(Auto({name: Ridge() for name in names}), train, validation)
        told = auto.chosen()
        assert told["router"] == names[0]
        assert told["expected loss of choosing"] == 0


def test_what_was_kept_before_there_was_an_expected_loss_still_loads():
    train, validation, test = problem()
    auto = fitted(Auto({"noise": Noise(), "ridge": Ridge()}), train, validation)
    kept = auto.state_dict()
    before = {name: value for name, value in kept.items() if name != "expected_loss"}
    for state in (kept, before | {"utilities": kept["utilities"][0]}):  # one round of all candidates, then
        loaded = Auto({"noise": Noise(), "ridge": Ridge()})
        loaded.prepare(dimensions(train))
        loaded.load_state_dict(state)
        np.testing.assert_array_equal(scores(loaded, test), scores(auto, test))
        assert ("expected loss of choosing" in loaded.chosen()) == ("expected_loss" in state)


def test_rounds_of_larger_fits_find_the_best_of_many_candidates_and_tell_who_fell_when():
    train, validation, _ = problem(sizes=(400, 100, 10))
    noises = {f"noise {k}": Noise() for k in range(12)}
    told = fitted(Auto(noises | {"ridge": Ridge(), "again": Ridge(), "knn": KNN(k=10)}), train, validation).chosen()
    assert told["router"] == "ridge"
    utilities = {name.removeprefix("utility of ") for name in told if name.startswith("utility of ")}
    assert {"ridge", "again"} <= utilities  # in the last round
    assert {f"{name} in round 1" for name in noises} <= utilities
    assert 0 <= told["expected loss of choosing"] < 0.05


def test_the_first_of_the_candidates_is_the_best_single_member():
    node = compose("train", ["router=auto"])["router"]
    auto = build(node, Router, key="router")
    assert auto.names[0] == "best_single"
    train, validation, test = problem(missing=0.2)
    alone = fitted(auto.candidates["best_single"], train, validation)
    expected = np.broadcast_to(np.nanmean(train.rewards, axis=0), (len(test), 4))
    np.testing.assert_allclose(scores(alone, test), expected)


def test_candidates_that_cannot_compete_drop_out():
    train, validation, _ = problem()
    no_category = [Part(p.embedding, p.rewards, np.full(len(p), -1), p.ids) for p in (train, validation)]
    auto = fitted(Auto({"category": CategoryMean(), "soft": SoftCategoryMean(), "ridge": Ridge()}), *no_category, 0)
    assert auto.chosen()["router"] == "ridge"
    assert not auto.reads_category
    priced = fitted(Auto({"noise": Noise(), "knn": KNN(k=5)}, lambda_=0.1), train, validation)
    assert priced.chosen()["router"] == "knn"
    with pytest.raises(ErpError, match=r"router\.candidates = noise: none can be used"):
        fitted(Auto({"noise": Noise()}, lambda_=0.1), train, validation)
    assert not Auto({"category": CategoryMean(), "ridge": Ridge()}).reads_category  # ridge is there without any
    assert Auto({"category": CategoryMean()}).reads_category
    # A policy without a lambda may compare predicted rewards: ordinal ones are not for it.
    unpriced = fitted(Auto({"noise": Noise(), "knn": KNN(k=5)}, lambda_=None), train, validation)
    assert unpriced.chosen()["router"] == "knn"


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ErpError, match=r"router\.candidates: is empty"):
        Auto({})
    with pytest.raises(ErpError, match=r"router\.folds = 1"):
        Auto({"ridge": Ridge()}, folds=1)
    with pytest.raises(ErpError, match=r"router\.parts: is empty"):
        Stack({})


def of_two_minds(missing=0.0):
    """A problem in which embedding and category tell as much: who knows one of them lacks half."""
    bonus = 2 * np.random.default_rng(5).standard_normal((3, 4))
    return [
        part.with_rewards(part.rewards + bonus[part.category])
        for part in problem(sizes=(160, 400, 50), missing=missing)
    ]


def test_weights_of_a_stack_are_the_convex_least_squares_where_all_together_are_better_than_each_alone():
    train, validation, test = of_two_minds(missing=0.1)
    parts = {"ridge": Ridge([0.01]), "knn": KNN(k=5), "mean": CategoryMean()}
    stack = fitted(Stack(copy.deepcopy(parts)), train, validation)
    each = np.stack([scores(fitted(part, train, validation), validation) for part in parts.values()])
    present = ~np.isnan(validation.rewards)

    def centred(values):
        values = np.where(present, values, np.nan)
        return values - np.nanmean(values, axis=1, keepdims=True)

    def loss(w):
        return np.nansum((centred(np.einsum("k,knm->nm", w, each)) - centred(validation.rewards)) ** 2)

    best = minimize(
        loss, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}
    )
    weights = stack.weights.numpy()
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx(best.x, abs=2e-3)
    expected = sum(w * scores(fitted(p, train, validation), test) for w, p in zip(weights, parts.values(), strict=True))
    np.testing.assert_allclose(scores(stack, test), expected)


def test_an_ordinal_part_is_brought_to_rewards_and_noise_gets_no_weight():
    train, validation, _ = problem(sizes=(300, 200, 50))
    stack = fitted(Stack({"noise": Noise(), "ridge": Ridge()}), train, validation)
    assert stack.scale == "reward"
    assert {name: stack.chosen()[f"weight of {name}"] for name in ("noise", "ridge")} == {"noise": 0, "ridge": 1}
    alone = fitted(Stack({"noise": Noise()}), train, validation)
    mean = validation.rewards.mean(axis=0)
    assert scores(alone, validation).mean(axis=0) == pytest.approx(mean)


def test_all_the_weight_of_a_stack_is_the_simplest_parts_where_the_others_add_nothing():
    train, validation, _ = problem()
    told = fitted(Stack({"ridge": Ridge(), "again": Ridge(), "knn": KNN(k=5)}), train, validation).chosen()
    assert {name: told[f"weight of {name}"] for name in ("ridge", "again", "knn")} == {"ridge": 1, "again": 0, "knn": 0}
    assert 0 <= told["expected loss of choosing"] < 0.05
    train, validation, _ = of_two_minds()
    unjudged = validation.rewards.copy()
    unjudged[np.arange(400), np.arange(400) % 4] = np.nan  # on no prompt it is known what every decision earns
    told = fitted(Stack({"mean": CategoryMean(), "knn": KNN(k=5)}), train, validation.with_rewards(unjudged)).chosen()
    assert 0 < told["weight of knn"] < 1
    assert "expected loss of choosing" not in told


@pytest.mark.parametrize("name", ["auto", "stack"])
def test_options_compose_their_parts_and_a_sent_folder_brings_no_foreign_code(name):
    node = compose("train", [f"router={name}", "policy.lambda=0.5"])["router"]
    router = build(node, Router, key="router")
    assert isinstance(router, Auto | Stack)
    if name == "auto":
        assert router.lambda_ == 0.5
    place = "candidates" if name == "auto" else "parts"
    node[place]["ridge"] = {"_target_": "tests.training.linear.Linear"}
    with pytest.raises(ErpError, match=rf"router.{place}.ridge._target_ = tests"):
        build(node, Router, key="router", trust=False)
    node[place]["ridge"] = {"_target_": "erp.routers.ridge.Ridge", "typo": 1}
    with pytest.raises(ErpError, match=rf"router.{place}.ridge.typo = 1"):
        build(node, Router, key="router")


def test_one_member_and_few_prompts():
    train, validation, test = problem(sizes=(3, 2, 4), members=1)
    auto = Auto({"ridge": Ridge(), "knn": KNN()})
    auto.prepare(Dimensions(12, 1, 3))
    auto.fit(train.batches(), validation.batches())
    assert scores(auto, test).shape == (4, 1)


@pytest.mark.parametrize("where", ["validation", "both"])
def test_a_member_without_rewards_to_weigh_by_is_not_thought_the_best(where):
    """Rewards about -10: an intercept of 0 would send every prompt to the member of which least is known."""
    train, validation, test = (part.with_rewards(part.rewards - 10) for part in problem())
    hidden = validation.rewards.copy()
    hidden[:, 2] = np.nan
    learnt = train.rewards.copy()
    learnt[:, 2] -= 3
    if where == "both":
        learnt[:, 2] = np.nan
    stack = fitted(Stack({"noise": Noise()}), train.with_rewards(learnt), validation.with_rewards(hidden))
    found = scores(stack, test).mean(axis=0)
    expected = np.nanmean(learnt) if where == "both" else learnt[:, 2].mean()
    assert found[2] == pytest.approx(expected, abs=1e-6)
    assert found[2] < -8
