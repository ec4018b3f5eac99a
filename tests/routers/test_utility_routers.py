"""Ranking and regret heads: their losses by hand, their lambdas, and that f alone serves every lambda."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from erp.routers.losses import RewardUnits
from erp.routers.ranking import HELD_OUT, Prices, Ranking, pairwise_logistic
from erp.routers.regret import Regret, softmax_regret
from tests.routers.gradient import batch_of, learnt, prepared, sampled, scores_of

MAKERS = {"ranking": Ranking, "regret": Regret}
both = pytest.mark.parametrize("name", MAKERS)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_pairwise_logistic_by_hand():
    # Pairs (0, 1): gap 2, margin 1. (0, 2): gap -1, margin 3, the wrong way. (1, 2): gap -3, margin 2, wrong.
    predicted, utility = tensor([[3.0, 2.0, 0.0]]), tensor([[2.0, 0.0, 3.0]])
    terms = [2 * np.log1p(np.exp(-1)), 1 * np.log1p(np.exp(3)), 3 * np.log1p(np.exp(2))]
    found = pairwise_logistic(predicted, utility, torch.ones(1, 3, dtype=torch.bool))
    assert float(found) == pytest.approx(np.mean(terms))
    without = pairwise_logistic(predicted, utility, torch.tensor([[True, True, False]]))
    assert float(without) == pytest.approx(terms[0])


def test_a_tie_teaches_nothing():
    predicted = tensor([[5.0, 1.0]]).requires_grad_()
    pairwise_logistic(predicted, tensor([[2.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)).backward()
    assert (predicted.grad == 0).all()


def test_softmax_regret_is_the_expected_loss():
    rng = np.random.default_rng(0)
    logits, utility, present = rng.standard_normal((6, 4)), rng.standard_normal((6, 4)), rng.random((6, 4)) < 0.7
    present[0] = False
    expected = []
    for row in range(1, 6):
        here = present[row]
        u = utility[row][here]
        expected.append(u.max() - softmax(logits[row][here]) @ u)
    found = softmax_regret(*map(torch.from_numpy, (logits, utility, present)))
    assert float(found) == pytest.approx(np.mean(expected))


def test_a_sure_choice_of_the_best_has_no_regret():
    everyone = torch.ones(1, 3, dtype=torch.bool)
    assert float(softmax_regret(tensor([[0.0, 900.0, 0.0]]), tensor([[1.0, 4.0, 2.0]]), everyone)) == 0
    assert float(softmax_regret(tensor([[900.0, 0.0, 0.0]]), tensor([[1.0, 4.0, 2.0]]), everyone)) == 3


def prices_of(batch):
    units, prices = RewardUnits(batch.rewards.shape[1]), Prices()
    units.measure([batch])
    prices.measure([batch], units)
    return prices


def test_the_balance_is_spread_of_rewards_over_spread_of_costs():
    """Gaps of 2 and 0 between rewards, of 3 and 1 between costs: sqrt(4 + 0) over sqrt(9 + 1)."""
    samples = [[[3.0], [1.0]], [[1.0], [1.0]], [[7.0], [np.nan]]]
    batch = batch_of(samples, costs=[[4.0, 1.0], [2.0, 1.0], [0.0, 1000.0]])  # the last cost is of a missing cell
    assert float(prices_of(batch).balance) == pytest.approx(np.sqrt(4 / 10))


def test_lambdas_in_training_are_free_for_a_quarter_and_log_uniform_for_the_rest():
    prices = prices_of(sampled()).train()
    torch.manual_seed(0)
    (column,) = prices.lambdas(20_000)
    factors = (column / prices.balance).numpy().ravel()
    assert column.shape == (20_000, 1)
    assert (factors == 0).mean() == pytest.approx(0.25, abs=0.01)
    exponents = np.log10(factors[factors > 0])
    assert -2 <= exponents.min() < -1.99
    assert 0.99 < exponents.max() <= 1
    assert np.histogram(exponents, bins=3)[0] / len(exponents) == pytest.approx(np.full(3, 1 / 3), abs=0.02)


def test_lambdas_in_evaluation_are_the_same_each_time():
    prices = prices_of(sampled()).eval()
    found = prices.lambdas(5)
    assert [float(column[0] / prices.balance) for column in found] == pytest.approx(list(HELD_OUT))
    assert all(column.shape == (5, 1) for column in found)


@pytest.mark.parametrize("training", [True, False])
def test_equal_costs_leave_only_a_lambda_of_zero(training):
    batch = sampled()
    level = batch_of(batch.samples, costs=np.full((200, 4), 7.0))
    assert all((column == 0).all() for column in prices_of(level).train(training).lambdas(10))


@both
def test_the_loss_in_evaluation_is_the_mean_over_the_lambdas(name):
    batch = sampled(missing=0.2)
    router = prepared(MAKERS[name](), batch).eval()
    labels = router.units.shrunk(batch) if router.shrink else batch.rewards
    scores, rewards, within = scores_of(router, batch), labels.numpy(), float(router.units.within)
    there, losses = ~np.isnan(rewards), []
    for factor in HELD_OUT:
        price = factor * float(router.prices.balance)
        u, v = (rewards - price * batch.costs.numpy()) / within, (scores - price * batch.costs.numpy()) / within
        v /= router.temperature
        if name == "ranking":
            pairs = [
                abs(u[p, i] - u[p, j]) * np.logaddexp(0, -(v[p, i] - v[p, j]) * np.sign(u[p, i] - u[p, j]))
                for p in range(200) for i in range(4) for j in range(i) if there[p, i] and there[p, j]
            ]  # fmt: skip
            losses.append(np.mean(pairs))
        else:
            lost = [u[p, t].max() - softmax(v[p, t]) @ u[p, t] for p, t in enumerate(there) if t.any()]
            losses.append(np.mean(lost))
    assert float(router.loss(batch).detach()) == pytest.approx(np.mean(losses), rel=1e-5)


def costly(seed, n=300):
    """Noise-free rewards that the embedding tells, costs that vary from prompt to prompt; the best are dear."""
    batch, rng = sampled(seed, n=n, noise=0.0, k=1), np.random.default_rng(seed + 50)
    rewards = batch.rewards.numpy() + np.array([0.0, 0.5, 1.0, 1.5])
    costs = np.array([1.0, 2.0, 3.0, 4.0]) * rng.uniform(0.5, 1.5, (n, 4))
    return batch_of(rewards[:, :, None], batch.features.embedding, costs=costs)


@pytest.fixture(scope="module")
def trained():
    train, validation = costly(0), costly(1)
    settings = {"max_epochs": 40, "batch_size": 100, "learning_rate": 0.03}
    return {name: learnt(MAKERS[name](hidden=()), train, validation, **settings) for name in MAKERS}


@both
@pytest.mark.parametrize("factor", [0.0, 0.2, 0.5, 1.0, 2.0])
def test_one_training_serves_every_lambda(trained, name, factor):
    """Less lambda times cost, the scores choose nearly as the rewards do, at lambdas it was not validated on too."""
    router, test = trained[name], costly(2)
    price, costs, rewards = factor * float(router.prices.balance), test.costs.numpy(), test.rewards.numpy()
    utility = rewards - price * costs
    chosen = (scores_of(router, test) - price * costs).argmax(axis=1)
    best, single = utility.max(axis=1).mean(), utility.mean(axis=0).max()
    assert utility[np.arange(len(utility)), chosen].mean() > best - 0.12 * (best - single)


def test_costs_give_rankings_differences_the_size_of_rewards(trained):
    test = costly(2)
    found, rewards = scores_of(trained["ranking"], test), test.rewards.numpy()
    found, rewards = (values - values.mean(axis=1, keepdims=True) for values in (found, rewards))
    slope = (found * rewards).sum() / (rewards**2).sum()
    assert 0.8 < slope < 1.25
    assert ((found - rewards) ** 2).sum() < 0.1 * (rewards**2).sum()


def test_labels_are_shrunk_where_repeated_samples_tell_their_noise():
    noisy, single = sampled(noise=3.0, k=3), sampled(noise=3.0, k=1)
    for batch, differs in ((noisy, True), (single, False)):  # at K = 1 nothing is known of the noise
        shrunk, plain = (prepared(Ranking(dropout=0.0, shrink=flag), batch).eval() for flag in (True, False))
        with torch.no_grad():
            assert (float(shrunk.loss(batch)) != float(plain.loss(batch))) == differs
            by_hand = plain.loss(replace(batch, rewards=plain.units.shrunk(batch)))
            assert float(shrunk.loss(batch)) == pytest.approx(float(by_hand))
