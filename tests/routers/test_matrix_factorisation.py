"""RouteLLM's matrix factorisation against its formulas, written game by game."""

import numpy as np
import pytest
import torch

from erp.errors import ErpError
from erp.routers.matrix_factorisation import MatrixFactorisation
from tests.routers.gradient import batch_of, prepared, sampled, scores_of


def formulas(router, batch):
    """Strengths (B, M) in float64, one prompt and one member at a time."""
    w, v = router.classifier.detach().double().numpy(), router.vectors.detach().double().numpy()
    projection, offset = (t.detach().double().numpy() for t in (router.projection.weight, router.projection.bias))
    x = batch.features.embedding.double().numpy()
    return np.array([
        [w @ (v_m / np.linalg.norm(v_m) * (projection @ (e * len(e) ** 0.5) + offset)) for v_m in v] for e in x
    ])  # fmt: skip


@pytest.mark.parametrize("ties", ["half", "drop"])
def test_strengths_and_loss_are_the_formulas(ties):
    batch = sampled(n=40, k=1, missing=0.2)
    batch = batch_of(np.round(batch.samples.numpy()), batch.features.embedding)
    router = prepared(MatrixFactorisation(dimension=5, ties=ties), batch).eval()
    torch.nn.init.normal_(router.vectors)  # they all start alike
    expected = formulas(router, batch)
    centred = expected - expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(scores_of(router, batch), centred, atol=1e-5)
    lost = []
    for s, r in zip(expected, batch.rewards.numpy(), strict=True):
        for i in range(len(r)):
            for j in range(i):
                chance = 1 / (1 + np.exp(s[j] - s[i]))
                if r[i] > r[j]:
                    lost.append(-np.log(chance))
                elif r[i] < r[j]:
                    lost.append(-np.log(1 - chance))
                elif r[i] == r[j] and ties == "half":
                    lost.append(-(np.log(chance) + np.log(1 - chance)) / 2)
    assert router.loss(batch).item() == pytest.approx(np.mean(lost), rel=1e-5)


def test_noise_is_of_training_alone_and_of_the_length_that_is_given():
    batch = sampled(n=400, d=100)
    router = prepared(MatrixFactorisation(dimension=4, noise=3.0), batch)
    seen = []
    router.projection.register_forward_hook(lambda _, given, __: seen.append(given[0].detach().numpy()))
    router.eval().loss(batch)
    router.train().loss(batch)
    quiet, noisy = seen
    np.testing.assert_allclose(np.linalg.norm(quiet, axis=1), 10, rtol=1e-5)  # sqrt(d), entries of about 1
    assert np.linalg.norm(noisy - quiet, axis=1).mean() / 10 == pytest.approx(3.0, rel=0.02)


def test_what_it_does_not_take_is_named():
    with pytest.raises(ErpError, match=r"router.dimension = 0: give 1 or more"):
        MatrixFactorisation(dimension=0)
    with pytest.raises(ErpError, match=r"router.noise = -1: give 0, or a length"):
        MatrixFactorisation(noise=-1)
    with pytest.raises(ErpError, match=r"router.ties = won: no such option; give one of half, drop"):
        MatrixFactorisation(ties="won")


def test_no_game_is_no_loss():
    batch = batch_of(np.ones((3, 2, 1)))
    router = prepared(MatrixFactorisation(dimension=2, ties="drop"), batch)
    loss = router.loss(batch)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(router.vectors.grad).all()
