"""MLP, low rank and EmbedLLM at fixed weights, by numpy and scipy; what noise and weights of cells do."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import mean_squared_error

from erp.routers.embedllm import EmbedLLM
from erp.routers.low_rank import LowRank
from erp.routers.mlp import MLP
from tests.routers.gradient import batch_of, learnt, prepared, sampled, scores_of


def randomised(router, seed=3):
    """No parameter at its start."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in router.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    return router.eval()


def parameters(router):
    return {name: p.detach().numpy().astype(np.float64) for name, p in router.named_parameters()}


def mlp_outputs(router, x):
    p, x = parameters(router), x * np.sqrt(x.shape[1])
    for layer in (0, 3):
        z = x @ p[f"trunk.{layer}.weight"].T + p[f"trunk.{layer}.bias"]
        x = z * norm.cdf(z)
    return x @ p["trunk.6.weight"].T + p["trunk.6.bias"]


def low_rank_outputs(router, x):
    p = parameters(router)
    v, u, beta = p["directions.weight"], p["members.weight"], p["members.bias"]
    return np.stack([beta[m] + u[m] @ (v @ x.T) * np.sqrt(x.shape[1]) for m in range(len(beta))], axis=1)


def embedllm_outputs(router, x):
    p, x = parameters(router), x * np.sqrt(x.shape[1])
    projected = x @ p["projection.weight"].T + p["projection.bias"]
    members = zip(p["vectors"], p["bias"], strict=True)
    return np.stack([(projected * v) @ p["classifier"] + b for v, b in members], axis=1)


CASES = {
    "mlp": (lambda **options: MLP(hidden=(7, 5), dropout=0.4, **options), mlp_outputs),
    "low_rank": (lambda **options: LowRank(rank=2, **options), low_rank_outputs),
    "embedllm": (lambda **options: EmbedLLM(dimension=6, noise=1.0, **options), embedllm_outputs),
}
every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_scores_are_the_formulas(case):
    make, outputs = CASES[case]
    batch = sampled(missing=0.2)
    router = randomised(prepared(make(), batch))
    mean = np.nanmean(batch.rewards.numpy(), axis=0)
    spread = np.sqrt(np.nanmean((batch.rewards.numpy() - mean) ** 2))
    expected = mean + spread * outputs(router, batch.features.embedding.numpy().astype(np.float64))
    np.testing.assert_allclose(scores_of(router, batch), expected, rtol=1e-5, atol=1e-5)


@every_case
@pytest.mark.parametrize("weights", ["none", "precision"])
def test_the_loss_is_scikit_learns_over_the_present_cells(case, weights):
    make, _ = CASES[case]
    batch = sampled(missing=0.4)
    router = randomised(prepared(make(weights=weights), batch))
    here = ~np.isnan(batch.rewards.numpy())
    variance = float(router.units.spread) ** 2
    weight = router.units.precision(batch).numpy()[here] if weights == "precision" else None
    expected = mean_squared_error(batch.rewards.numpy()[here], scores_of(router, batch)[here], sample_weight=weight)
    assert float(router.loss(batch).detach()) == pytest.approx(expected / variance, rel=1e-5)
    if weight is not None:
        assert weight.std() > 0.01


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_in_training_alone(dropout):
    batch = sampled()
    router = randomised(prepared(MLP(hidden=(16,), dropout=dropout), batch))
    assert torch.equal(router.loss(batch), router.loss(batch))
    router.train()
    assert torch.equal(router.loss(batch), router.loss(batch)) == (dropout == 0)


def test_huber_is_linear_in_an_outlier():
    samples = np.zeros((100, 1, 1))
    samples[0] = 100.0
    batch = batch_of(samples)
    router = prepared(MLP(hidden=(), loss="huber"), batch).eval()
    # Mean 1, variance 99: standardised errors of 1 / sqrt(99), and one of sqrt(99).
    root = np.sqrt(99)
    expected = (99 / (2 * 99) + (root - 0.5)) / 100
    assert float(router.loss(batch).detach()) == pytest.approx(expected, rel=1e-5)


def test_precise_cells_count_for_more():
    """A member's cells have 2 samples or 100 about the same mean: the weighted fit is nearer to the truth."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    truth = x @ np.array([[1.0], [-1], [0.5], [0], [0], [0]])
    samples = np.full((200, 1, 100), np.nan)
    samples[:, 0, :2] = truth + 4 * rng.standard_normal((200, 2))
    samples[::10, 0] = truth[::10] + 4 * rng.standard_normal((20, 100))
    batch = batch_of(samples, x)
    errors = []
    for weights in ("none", "precision"):
        router = learnt(MLP(hidden=(), weights=weights), batch, batch, batch_size=200, learning_rate=0.05)
        errors.append(np.mean((scores_of(router, batch) - truth) ** 2))
    assert errors[1] < 0.5 * errors[0]


def test_more_rank_than_directions_of_the_rewards_is_not_needed():
    """Rewards of rank 1 about their means: one direction tells them, and its u and V are the rewards' own."""
    train, test = sampled(n=200, noise=0.0), sampled(5, n=50, noise=0.0)
    u = np.array([1.0, -2.0, 0.5, 3.0])

    def of_rank_one(batch):
        return batch_of(batch.rewards.numpy()[:, :1, None] * u[:, None], batch.features.embedding)

    train, test = of_rank_one(train), of_rank_one(test)
    router = learnt(LowRank(rank=1), train, train, max_epochs=150)
    assert np.mean((scores_of(router, test) - test.rewards.numpy()) ** 2) < 1e-3 * test.rewards.var()


def test_noise_is_as_long_as_it_says_and_only_in_training():
    """The expected loss grows by noise^2 |W' (v w)|^2 / d over the members, in units of an embedding's entries."""
    batch = sampled(n=2000)
    router = randomised(prepared(EmbedLLM(dimension=6, noise=8.0), batch))
    quiet = float(router.loss(batch).detach())
    p = parameters(router)
    linear = (p["vectors"] * p["classifier"]) @ p["projection.weight"]  # (M, d)
    torch.manual_seed(0)
    noisy = np.mean([float(router.train().loss(batch).detach()) for _ in range(20)])
    assert noisy - quiet == pytest.approx(8.0**2 * (linear**2).sum() / len(linear), rel=0.05)
    silent = EmbedLLM(dimension=6, noise=0.0)
    randomised(prepared(silent, batch))
    assert float(silent.train().loss(batch).detach()) == pytest.approx(quiet)
