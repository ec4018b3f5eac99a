"""What holds for every router with a loss, whatever it learns."""

import inspect

import numpy as np
import pytest
import torch
import yaml

from erp.build import build
from erp.compose import conf_folder
from erp.errors import ErpError
from erp.routers.base import Router
from erp.routers.embedllm import EmbedLLM
from erp.routers.graph import Graph
from erp.routers.irt import IRT
from erp.routers.label_classifier import LabelClassifier
from erp.routers.low_rank import LowRank
from erp.routers.matrix_factorisation import MatrixFactorisation
from erp.routers.mean_and_spread import MeanAndSpread
from erp.routers.mlp import MLP
from erp.routers.p2l import P2L
from erp.routers.quantile import Quantile
from erp.routers.ranking import Ranking
from erp.routers.regret import Regret
from erp.routers.routerdc import RouterDC
from erp.routers.zooter import Zooter
from tests.routers.gradient import batch_of, dimensions_of, learnt, prepared, sampled, scores_of

MAKERS = {
    "mlp": lambda: MLP(hidden=(16,)),
    "mlp_huber": lambda: MLP(hidden=(), loss="huber", weights="precision"),
    "low_rank": lambda: LowRank(rank=3),
    "low_rank_weighted": lambda: LowRank(rank=3, weights="precision"),
    "embedllm": lambda: EmbedLLM(dimension=16),
    "embedllm_weighted": lambda: EmbedLLM(dimension=16, noise=0.0, weights="precision"),
    "matrix_factorisation": lambda: MatrixFactorisation(dimension=16),
    "zooter": lambda: Zooter(hidden=(16,)),
    "ranking": lambda: Ranking(hidden=(16,)),
    "regret": lambda: Regret(hidden=(16,)),
    "mean_and_spread": lambda: MeanAndSpread(hidden=(16,)),
    "quantile": lambda: Quantile(hidden=(16,)),
    "irt": lambda: IRT(dimension=8),
    "label_classifier": lambda: LabelClassifier(hidden=(16,)),
    "p2l": lambda: P2L(hidden=(16,)),
    "routerdc": lambda: RouterDC(dimension=16),
    "graph": lambda: Graph(dimension=16),
}
ORDERED = {
    "label_classifier",
    "matrix_factorisation",
    "p2l",
    "routerdc",
    "graph",
}  # these see who is better, not by how much
ORDINAL = {"zooter", "ranking", "regret"} | ORDERED
every_router = pytest.mark.parametrize("name", MAKERS)


def remade(batch, rewards=lambda s: s, order=None):
    """The batch with other samples, or members in another order."""
    order = np.arange(batch.rewards.shape[1]) if order is None else order
    samples, costs = rewards(batch.samples.numpy().copy()), batch.costs.numpy()
    features = batch.features
    return batch_of(samples[:, order], features.embedding, features.category, costs[:, order])


def stepped(router, batch, steps=3):
    """A few full-batch steps, under a fixed seed."""
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(router.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        router.loss(batch).backward()
        optimizer.step()
    return router.eval()


@every_router
def test_it_declares_what_it_is(name):
    router = MAKERS[name]()
    assert router.scale == ("ordinal" if name in ORDINAL else "reward")
    assert not router.closed_form
    assert not router.reads_category


@every_router
def test_it_has_float32_parameters_and_finite_scores_from_the_start(name):
    batch = sampled(n=20)
    router = prepared(MAKERS[name](), batch)
    assert {p.dtype for p in router.parameters()} == {torch.float32}
    assert scores_of(router, batch).shape == (20, 4)
    assert np.isfinite(scores_of(router, batch)).all()


@every_router
@pytest.mark.parametrize("k", [1, 3])
def test_it_beats_the_best_single_on_rewards_that_the_prompt_tells(name, k):
    train, validation, test = (sampled(seed, k=k, missing=0.1) for seed in (0, 1, 2))
    router = learnt(MAKERS[name](), train, validation)
    complete = ~test.rewards.isnan().any(dim=1).numpy()
    rewards, found = test.rewards.numpy()[complete], scores_of(router, test)[complete]
    best_single = rewards[:, train.rewards.nanmean(dim=0).argmax()].mean()
    assert rewards[np.arange(len(rewards)), found.argmax(axis=1)].mean() > best_single + 0.5


@every_router
@pytest.mark.parametrize("k", [1, 3])
def test_the_unit_of_the_reward_does_not_matter(name, k):
    """A thousandth of the rewards, far from zero: scores follow."""
    batch = sampled(k=k, missing=0.1)
    small = remade(batch, lambda s: 1e-3 * s + 7)
    one, other = (stepped(prepared(MAKERS[name](), b), b) for b in (batch, small))
    expected = scores_of(one, batch)
    if name not in ORDERED:
        expected = 1e-3 * expected + (0 if name == "zooter" else 7)
    np.testing.assert_allclose(scores_of(other, batch), expected, atol=2e-7)
    assert float(one.loss(batch).detach()) == pytest.approx(float(other.loss(small).detach()), rel=1e-4)


@every_router
def test_scores_follow_their_members(name):
    """The start treats members alike, so what is learnt of them does not depend on their place."""
    batch, order = sampled(missing=0.2), np.array([2, 0, 3, 1])
    one = stepped(prepared(MAKERS[name](), batch), batch)
    other = stepped(prepared(MAKERS[name](), remade(batch, order=order)), remade(batch, order=order))
    np.testing.assert_allclose(scores_of(other, batch), scores_of(one, batch)[:, order], rtol=1e-5, atol=1e-5)


@every_router
def test_the_bits_behind_a_missing_cell_do_not_matter(name):
    batch = sampled(missing=0.4)
    odd = remade(batch)
    for values in (odd.rewards, odd.samples, odd.variances):
        values.numpy().view(np.uint64)[np.isnan(values.numpy())] = 0xFFF8_0000_DEAD_BEEF
    one, other = (stepped(prepared(MAKERS[name](), b), b) for b in (batch, odd))
    np.testing.assert_array_equal(scores_of(other, batch), scores_of(one, batch))


@every_router
def test_a_prompt_without_any_reward_changes_nothing(name):
    batch = sampled(n=40)
    holes = remade(sampled(seed=1, n=5), lambda s: np.full_like(s, np.nan))
    joined = batch_of(
        np.concatenate([batch.samples, holes.samples]),
        np.concatenate([batch.features.embedding, holes.features.embedding]),
        np.concatenate([batch.features.category, holes.features.category]),
        np.concatenate([batch.costs, holes.costs]),
    )
    router = stepped(prepared(MAKERS[name](), batch), batch)
    router.eval()  # in which nothing is drawn
    assert float(router.loss(joined).detach()) == pytest.approx(float(router.loss(batch).detach()), rel=1e-6)


@every_router
@pytest.mark.parametrize("training", [True, False])
def test_no_reward_at_all_is_a_loss_of_zero_with_a_gradient(name, training):
    batch = sampled(n=20)
    router = prepared(MAKERS[name](), batch).train(training)
    loss = router.loss(remade(batch, lambda s: np.full_like(s, np.nan)))
    assert loss.detach() == 0
    loss.backward()
    gradients = [p.grad for p in router.parameters() if p.grad is not None]
    assert gradients
    assert all((gradient == 0).all() for gradient in gradients)


@every_router
def test_a_pool_of_one(name):
    train, validation = (sampled(seed, members=1, missing=0.2) for seed in (0, 1))
    router = learnt(MAKERS[name](), train, validation, max_epochs=3)
    assert np.isfinite(scores_of(router, validation)).all()
    assert np.isfinite(float(router.loss(validation).detach()))


@every_router
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_equal_rewards(name, value):
    """Costs are equal too: where they are not, the cheap ones are the better ones."""
    few = sampled(n=30)
    batch = batch_of(np.full_like(few.samples, value), few.features.embedding)
    found = scores_of(learnt(MAKERS[name](), batch, batch, max_epochs=3), batch)
    expected = found.mean(axis=1, keepdims=True) if name in ORDERED else 0 if name == "zooter" else value
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=0.15 if name == "quantile" else 1e-6)


@every_router
def test_one_prompt_with_one_reward(name):
    one = batch_of([[[2.0], [np.nan]]])
    assert np.isfinite(scores_of(learnt(MAKERS[name](), one, one, max_epochs=2), one)).all()


@every_router
def test_a_member_without_any_reward_keeps_a_finite_score(name):
    def without(samples):
        samples[:, 2] = np.nan
        return samples

    train = remade(sampled(), without)
    found = scores_of(learnt(MAKERS[name](), train, train, max_epochs=3), train)
    assert np.isfinite(found).all()
    if name not in ORDINAL | {"quantile", "irt"}:  # a quantile's spread is never 0, nor is a prompt's difficulty
        np.testing.assert_allclose(found[:, 2], np.nanmean(train.rewards), rtol=1e-12)


@every_router
def test_a_batch_scores_as_its_prompts_one_by_one(name):
    train, test = sampled(), sampled(2, n=20)
    router = stepped(prepared(MAKERS[name](), train), train)
    singles = np.concatenate([scores_of(router, test.take(torch.tensor([i]))) for i in range(20)])
    np.testing.assert_allclose(singles, scores_of(router, test), rtol=1e-5, atol=1e-5)


@every_router
def test_the_loss_in_evaluation_draws_nothing(name):
    batch = sampled()
    router = stepped(prepared(MAKERS[name](), batch), batch)
    state = torch.get_rng_state()
    assert torch.equal(router.loss(batch), router.loss(batch))
    assert torch.equal(torch.get_rng_state(), state)


@every_router
def test_what_is_saved_is_what_is_loaded(name):
    batch = sampled(missing=0.2)
    router = stepped(prepared(MAKERS[name](), batch), batch)
    again = MAKERS[name]()
    again.prepare(dimensions_of(batch))
    again.load_state_dict(router.state_dict())
    again.eval()
    np.testing.assert_array_equal(scores_of(again, batch), scores_of(router, batch))
    assert torch.equal(again.loss(batch), router.loss(batch))  # what begin() measured is part of it


@pytest.mark.parametrize("name", sorted({name.removesuffix("_weighted").removesuffix("_huber") for name in MAKERS}))
def test_the_yaml_gives_every_argument_its_default(name):
    node = yaml.safe_load((conf_folder() / "router" / f"{name}.yaml").read_text())
    router = build(node, Router, key="router")
    assert type(router) is type(MAKERS[name]())
    for argument, parameter in inspect.signature(type(router)).parameters.items():
        default = parameter.default
        assert node[argument] == (list(default) if isinstance(default, tuple) else default), argument


BAD = [
    (MLP, {"hidden": (8, 0)}, r"router.hidden = \[8, 0\]"),
    (MLP, {"dropout": 1.0}, "router.dropout = 1.0"),
    (MLP, {"loss": "mae"}, "router.loss = mae.*mse, huber"),
    (MLP, {"weights": "all"}, "router.weights = all.*none, precision"),
    (LowRank, {"rank": 0}, "router.rank = 0"),
    (LowRank, {"weights": "all"}, "router.weights = all"),
    (EmbedLLM, {"dimension": 0}, "router.dimension = 0"),
    (EmbedLLM, {"noise": -1.0}, "router.noise = -1.0"),
    (EmbedLLM, {"noise": float("nan")}, "router.noise = nan"),
    (EmbedLLM, {"weights": "all"}, "router.weights = all"),
    (Zooter, {"temperature": 0.0}, "router.temperature = 0.0"),
    (Zooter, {"beta": 1.1}, "router.beta = 1.1"),
    (Zooter, {"hidden": (-1,)}, "router.hidden"),
    (Ranking, {"dropout": -0.1}, "router.dropout = -0.1"),
    (Ranking, {"temperature": -1.0}, "router.temperature = -1.0"),
    (Regret, {"temperature": float("inf")}, "router.temperature = inf"),
    (Regret, {"hidden": (0,)}, "router.hidden"),
    (MeanAndSpread, {"spread_weight": -1.0}, "router.spread_weight = -1.0"),
    (MeanAndSpread, {"hidden": (0,)}, "router.hidden"),
    (Quantile, {"levels": (0.5, 0.2)}, "router.levels"),
    (Quantile, {"levels": ()}, "router.levels"),
    (Quantile, {"levels": (0.0, 0.5)}, "router.levels"),
    (Quantile, {"levels": (0.5, 1.0)}, "router.levels"),
    (Quantile, {"score": 0.4}, "router.score = 0.4"),
    (Quantile, {"dropout": 2.0}, "router.dropout"),
]


@pytest.mark.parametrize(("maker", "arguments", "message"), BAD)
def test_a_bad_setting_is_refused_by_name(maker, arguments, message):
    with pytest.raises(ErpError, match=message):
        maker(**arguments)
