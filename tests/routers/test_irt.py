"""MIRT against its formulas, cell by cell."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from erp.errors import ErpError
from erp.routers.irt import IRT
from tests.routers.gradient import prepared, sampled, scores_of


def known(batch, **settings):
    router = prepared(IRT(dimension=3, **settings), batch).eval()
    torch.nn.init.normal_(router.ability, generator=torch.Generator().manual_seed(1))
    return router


def probability(router, embedding, member):
    x = embedding * np.sqrt(len(embedding))
    a = np.log1p(np.exp(router.discrimination.weight.detach().numpy() @ x))
    b = router.difficulty.weight.detach().numpy()[0] @ x
    return expit(a @ router.ability.detach().numpy()[member] - b)


def test_scores_are_the_probability_between_the_least_and_the_largest_reward():
    batch = sampled(n=20, missing=0.3)
    router, embedding = known(batch), batch.features.embedding.numpy()
    low, high = np.nanmin(batch.rewards.numpy()), np.nanmax(batch.rewards.numpy())
    expected = [[low + (high - low) * probability(router, e, m) for m in range(4)] for e in embedding]
    np.testing.assert_allclose(scores_of(router, batch), expected, rtol=1e-5)


def test_the_loss_is_the_cross_entropy_of_scaled_rewards_which_others_cannot_leave():
    train, other = sampled(n=20), sampled(1, n=20, noise=3.0, missing=0.3)
    router, lost = known(train), []
    low, high = float(train.rewards.min()), float(train.rewards.max())
    assert (other.rewards > high).any()
    for i, j in np.argwhere(~np.isnan(other.rewards.numpy())):
        p = probability(router, other.features.embedding[i].numpy(), j)
        y = np.clip((float(other.rewards[i, j]) - low) / (high - low), 0, 1)
        lost.append(-(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert float(router.loss(other).detach()) == pytest.approx(np.mean(lost), rel=1e-5)


def test_a_warm_up_draws_a_prompt_toward_its_nearest_train_prompts():
    train, test = sampled(n=40), sampled(1, n=10)
    router = known(train, warmup=0.25, neighbours=3)
    near = train.features.embedding.numpy()
    for e, found in zip(test.features.embedding.numpy(), scores_of(router, test), strict=True):
        drawn = 0.75 * e + 0.25 * near[np.argsort(-near @ e)[:3]].mean(axis=0)
        expected = [probability(router, drawn, m) for m in range(4)]
        np.testing.assert_allclose((found - float(router.low)) / float(router.width), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dimension": 0}, "dimension = 0"), ({"warmup": 1.5}, "warmup = 1.5"), ({"neighbours": 0}, "neighbours = 0")],
)
def test_a_bad_setting_is_refused_by_name(arguments, message):
    with pytest.raises(ErpError, match=f"router.{message}"):
        IRT(**arguments)
