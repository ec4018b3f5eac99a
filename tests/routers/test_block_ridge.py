"""A penalty for each block: noise beside what matters costs next to nothing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from erp.errors import ErpError
from erp.routers.base import Batch, Features
from erp.routers.block_ridge import BlockRidge
from erp.routers.ridge import Ridge

N, WIDTH, NOISE, MEMBERS = 600, 40, 5, 4


def batch(x, y):
    n, m = y.shape
    return Batch(
        Features(torch.from_numpy(x.astype(np.float32)), torch.full((n,), -1)), torch.from_numpy(y),
        torch.ones(n, m, dtype=torch.int64), torch.full((n, m), torch.nan, dtype=torch.float64), None,
        torch.zeros(n, m, dtype=torch.float64), torch.arange(n), torch.arange(n),
    )  # fmt: skip


def problem(seed, noise_blocks=NOISE):
    """Rewards (n, M) whose differences are linear in one block, which stands among blocks of noise; and their means."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(3 * N, WIDTH)) / np.sqrt(WIDTH) for _ in range(noise_blocks + 1)]
    mu = blocks[0] @ rng.normal(size=(WIDTH, MEMBERS)) * 0.7
    order = rng.permutation(len(blocks))
    return [blocks[i] for i in order], int(np.flatnonzero(order == 0)[0]), mu, mu + rng.normal(size=mu.shape)


def fitted(router, x, y, blocks=None):
    if blocks is not None:
        router.divide({f"part {i}": width for i, width in enumerate(blocks)})
    router.fit([batch(x[:N], y[:N])], [batch(x[N : 2 * N], y[N : 2 * N])])
    return router


def scores(router, x):
    return router.scores(Features(torch.from_numpy(x.astype(np.float32)), torch.empty(0))).numpy()


def gain_and_r2(predicted, mu, train_best):
    """Of routing by predictions over the best constant, and R^2, on expected rewards."""
    gain = mu[np.arange(len(mu)), predicted.argmax(axis=1)].mean() - mu[:, train_best].mean()
    return gain, 1 - ((predicted - mu) ** 2).sum() / ((mu - mu.mean(axis=0)) ** 2).sum()


def test_five_blocks_of_noise_cost_less_than_a_twentieth():
    """Of the gain and of R^2 of the ridge on the block that matters, where the joint ridge loses more."""
    ratios, joint = [], []
    for seed in range(5):
        blocks, which, mu, y = problem(seed)
        x, test = np.hstack(blocks), slice(2 * N, None)
        best = int(y[:N].mean(axis=0).argmax())
        alone = gain_and_r2(scores(fitted(Ridge(), blocks[which], y), blocks[which][test]), mu[test], best)
        found = fitted(BlockRidge(), x, y, [WIDTH] * len(blocks))
        ratios.append(np.divide(gain_and_r2(scores(found, x[test]), mu[test], best), alone))
        joint.append(np.divide(gain_and_r2(scores(fitted(Ridge(), x, y), x[test]), mu[test], best), alone))
        assert np.isfinite(float(found.penalties[which]))
    assert (np.mean(ratios, axis=0) >= 0.95).all(), ratios
    assert (np.mean(joint, axis=0) < 0.95).all(), joint  # so that the test can fail


def test_weights_are_the_ridge_on_scaled_blocks():
    """scikit-learn's ridge of penalty 1 on blocks divided by the root of their penalties, and no left out one."""
    blocks, _, _, y = problem(0)
    x = np.hstack(blocks).astype(np.float32).astype(np.float64)
    for leave_out in (True, False):
        router = fitted(BlockRidge(leave_out), x, y, [WIDTH] * len(blocks))
        penalties = router.penalties.numpy()
        assert leave_out or np.isfinite(penalties).all()
        scale = np.repeat(1 / np.sqrt(penalties), WIDTH)
        judge = SklearnRidge(alpha=1.0).fit(x[:N] * scale, y[:N])
        assert scores(router, x[2 * N :]) == pytest.approx(judge.predict(x[2 * N :] * scale), abs=1e-8)


def test_of_noise_alone_nothing_is_kept_but_the_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3 * N, 2 * WIDTH)), rng.normal(size=(3 * N, MEMBERS))
    router = fitted(BlockRidge(), x, y, [WIDTH, WIDTH])
    spread = scores(router, x).std(axis=0)
    assert (spread < 0.1).all()


def test_one_block_is_the_ridge():
    blocks, _, _, y = problem(1, noise_blocks=0)
    router = fitted(BlockRidge(), blocks[0], y)
    (penalty,) = router.penalties.tolist()
    judge = fitted(Ridge(alphas=[penalty]), blocks[0], y)
    assert scores(router, blocks[0]) == pytest.approx(judge.scores(Features(torch.from_numpy(blocks[0].astype(np.float32)), torch.empty(0))).numpy(), abs=1e-9)  # fmt: skip  # noqa: E501


def test_missing_cells_and_no_validation():
    blocks, which, _, y = problem(2)
    x, holes = np.hstack(blocks), y.copy()
    holes[::3, 0] = np.nan
    router = fitted(BlockRidge(), x, holes, [WIDTH] * len(blocks))
    assert np.isfinite(scores(router, x)).all()
    assert np.isfinite(float(router.penalties[which]))
    unseen = BlockRidge()
    unseen.fit([batch(x, y)], [])
    assert unseen.penalties.isfinite().all()


def test_what_was_chosen_is_told_by_name_and_stays_in_the_checkpoint():
    blocks, which, _, y = problem(3)
    router = fitted(BlockRidge(), np.hstack(blocks), y, [WIDTH] * len(blocks))
    again = BlockRidge()
    again.load_state_dict(router.state_dict())
    told = again.chosen()
    assert told == router.chosen()
    assert list(told) == [f"penalty of part {i}" for i in range(len(blocks))]
    assert told[f"penalty of part {which}"] == float(router.penalties[which])


def test_blocks_of_another_width_are_refused():
    with pytest.raises(ErpError, match=r"router = block_ridge: blocks .* are not the 240 numbers"):
        fitted(BlockRidge(), np.hstack(problem(0)[0]), problem(0)[3], [WIDTH, 3])
