"""The plain loop: least squares as judge of where it ends, and what it leaves alone."""

import numpy as np
import pytest
import torch
from torch import nn

from erp.routers.base import Router, concatenated
from erp.routers.mlp import MLP
from erp.routers.training_loop import train_by_gradient
from tests.routers.gradient import batch_of, learnt, prepared, sampled, scores_of


class Scripted(Router):
    """Counts its training steps in its only parameter's stead; its validation losses are given."""

    closed_form = False

    def __init__(self, losses):
        super().__init__()
        self.losses = iter(losses)
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen, self.begun = [], 0

    def begin(self, train):
        self.begun += 1
        assert not self.seen

    def loss(self, batch):
        if not self.training:
            assert not torch.is_grad_enabled()
            return torch.tensor(next(self.losses))
        self.steps += 1
        self.seen.append(batch.rows.tolist())
        return 0 * self.weight


def run(losses, n=10, **settings):
    router, train = Scripted(losses), sampled(n=n)
    train_by_gradient(router, [train], [sampled(n=5)], **{"batch_size": 4, **settings})
    return router


def test_the_best_state_is_kept_and_patience_counts_from_it():
    router = run([5.0, 3.0, 4.0, 2.0, 2.0, 9.0, 9.0, 0.0], patience=3)
    assert int(router.steps) == 4 * 3  # three minibatches an epoch; the fourth epoch is the best
    assert len(router.seen) == 7 * 3  # an equal loss is no better one
    assert router.begun == 1
    assert not router.training


def test_validation_batches_count_by_their_prompts():
    """Means (0 * 2 + 10 * 8) / 10 = 8, then (10 * 2 + 6 * 8) / 10 = 6.8; by batches it would be 5, then 8."""
    router, train = Scripted([0.0, 10.0, 10.0, 6.0]), sampled(n=4)
    train_by_gradient(router, [train], [sampled(n=2), sampled(n=8)], max_epochs=2)
    assert int(router.steps) == 2


def test_it_ends_after_the_last_epoch():
    assert len(run([3.0, 2.0, 1.0, 0.0], max_epochs=2).seen) == 2 * 3


def test_every_epoch_sees_every_prompt_once_in_an_order_of_its_own():
    seen = run([3.0, 2.0, 1.0], max_epochs=3).seen
    assert [len(rows) for rows in seen] == [4, 4, 2] * 3
    epochs = [[row for rows in seen[i : i + 3] for row in rows] for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert run([3.0, 2.0, 1.0], max_epochs=3).seen == seen
    assert run([3.0, 2.0, 1.0], max_epochs=3, seed=1).seen != seen


def test_without_validation_the_last_state_is_kept():
    router, train = Scripted([]), sampled(n=10)
    train_by_gradient(router, [train], [], max_epochs=30, patience=2, batch_size=10)
    assert int(router.steps) == 30


def test_a_loss_that_is_no_number_is_never_the_best():
    assert int(run([2.0, float("nan"), float("nan")], patience=2).steps) == 3


def test_it_ends_at_least_squares():
    """A linear model without noise in its way, full batches: numpy's solution."""
    train, validation = sampled(n=150, d=4), sampled(1, n=60, d=4)
    router = learnt(MLP(hidden=()), train, train, max_epochs=400, batch_size=150, patience=400, learning_rate=0.03)
    x = np.hstack([train.features.embedding.numpy(), np.ones((150, 1))]).astype(np.float64)
    weights = np.linalg.lstsq(x, train.rewards.numpy(), rcond=None)[0]
    expected = np.hstack([validation.features.embedding.numpy(), np.ones((60, 1))]) @ weights
    np.testing.assert_allclose(scores_of(router, validation), expected, atol=1e-3)


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    train, validation = sampled(), sampled(1, n=50)
    runs = []
    for draws in (1, 7):
        router = prepared(MLP(hidden=(8,), dropout=0.5), train, begin=False)
        torch.rand(draws)
        np.random.default_rng(0)
        train_by_gradient(router, [train], [validation], seed=3, max_epochs=3)
        runs.append(scores_of(router, validation))
    np.testing.assert_array_equal(*runs)
    router = prepared(MLP(hidden=(8,), dropout=0.5), train, begin=False)
    train_by_gradient(router, [train], [validation], seed=4, max_epochs=3)
    assert not np.array_equal(scores_of(router, validation), runs[0])


def test_torchs_generator_is_left_where_it_was():
    router = prepared(MLP(hidden=(8,), dropout=0.5), sampled(), begin=False)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_by_gradient(router, [sampled()], [sampled(1)], seed=0, max_epochs=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("size", [1, 30, 77])
def test_how_batches_come_does_not_matter(size):
    train, validation = sampled(n=90), sampled(1, n=40)
    pieces = [train.take(rows) for rows in torch.split(torch.arange(90), size)]
    held_out = [validation.take(rows) for rows in torch.split(torch.arange(40), size)]
    router = prepared(MLP(hidden=(8,)), train, begin=False)
    train_by_gradient(router, pieces, held_out, max_epochs=4, batch_size=20)
    whole = learnt(MLP(hidden=(8,)), train, validation, max_epochs=4, batch_size=20, learning_rate=1e-3)
    np.testing.assert_allclose(scores_of(router, validation), scores_of(whole, validation), rtol=1e-5, atol=1e-6)


def test_concatenated_is_the_whole_again():
    batch = sampled(n=11, missing=0.3)
    again = concatenated([batch.take(rows) for rows in torch.split(torch.arange(11), 4)])
    for name in ("rewards", "counts", "variances", "samples", "costs", "rows"):
        torch.testing.assert_close(getattr(again, name), getattr(batch, name), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(again.features.embedding, batch.features.embedding)
    assert torch.equal(again.features.category, batch.features.category)


def test_one_prompt_is_enough():
    one = batch_of([[[1.0, 2.0], [3.0, 5.0]]])
    router = learnt(MLP(hidden=(4,)), one, one, max_epochs=2)
    np.testing.assert_allclose(scores_of(router, one), [[1.5, 4.0]], atol=1e-6)
