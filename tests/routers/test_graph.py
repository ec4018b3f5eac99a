"""GraphRouter's messages edge by edge, and what is guessed of hidden ones."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from erp.errors import ErpError
from erp.routers.graph import Graph
from tests.routers.gradient import prepared, sampled, scores_of


def layer(messages, prompts, members, rewards):
    """New vectors of all nodes: their own map, and the mean of what is said along their edges."""
    own, other, edge = (part.weight.detach().numpy() for part in (messages.own, messages.other, messages.edge))
    bias = messages.own.bias.detach().numpy()

    def new(node, others, known):
        said = [other @ there + edge[:, 0] * r for there, r in zip(others, known, strict=True) if not np.isnan(r)]
        return own @ node + bias + (np.mean(said, axis=0) if said else 0)

    heard = [new(node, members, known) for node, known in zip(prompts, rewards, strict=True)]
    return np.array(heard), np.array([new(node, prompts, rewards[:, m]) for m, node in enumerate(members)])


def leaky(values):
    return np.where(values > 0, values, 0.01 * values)


def test_scores_are_those_of_messages_over_all_train_edges():
    train, test = sampled(n=25, missing=0.4), sampled(1, n=6)
    router = prepared(Graph(dimension=5), train).eval()
    torch.nn.init.normal_(router.members)
    rewards = train.rewards.numpy()
    center = np.nanmean(rewards, axis=0)
    standardised = (rewards - center.mean()) / np.sqrt(np.nanmean((rewards - center) ** 2))
    weight, bias = router.align.weight.detach().numpy(), router.align.bias.detach().numpy()

    def aligned(batch):
        return batch.features.embedding.numpy() * np.sqrt(8) @ weight.T + bias

    nodes = layer(router.first, aligned(train), router.members.detach().numpy(), standardised)
    members = layer(router.second, *map(leaky, nodes), standardised)[1]
    logits = np.array([[np.mean(x * (m - members.mean(axis=0))) for m in members] for x in aligned(test)])
    np.testing.assert_allclose(scores_of(router, test), logits, atol=1e-5)
    best = test.rewards.numpy().argmax(axis=1)
    expected = -np.mean(log_softmax(logits, axis=1)[np.arange(6), best])
    assert float(router.loss(test).detach()) == pytest.approx(expected, rel=1e-4)


def test_an_edge_that_is_guessed_is_not_seen(monkeypatch):
    """In training the loss of hidden edges does not move with how large their rewards are, if the best stays best."""
    batch = sampled(n=12)
    draws = torch.rand(12, 1, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    router = prepared(Graph(dimension=5, seen=0.5), batch).train()
    lost = float(router.loss(batch).detach())
    best = batch.rewards == batch.rewards.amax(dim=1, keepdim=True)
    for where, moves in ((draws >= 0.5, False), (draws < 0.5, True)):
        larger = batch.map(torch.clone)
        larger.rewards[where & best] += 3.0
        assert (float(router.loss(larger).detach()) != lost) is moves


def test_a_bad_setting_is_refused_by_name():
    for arguments, message in (({"seen": 1.0}, "router.seen = 1.0"), ({"graph": 0}, "router.graph = 0")):
        with pytest.raises(ErpError, match=message):
            Graph(**arguments)
