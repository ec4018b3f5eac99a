"""How many threads a few prompts take, and many, wherever torch computes for them."""

import pytest
import torch

from erp.threads import FEW, threads_for
from erp.trained.bundle import Bundle
from erp.trained.router import load
from tests.training.tables import RIDGE, finished_run, routing_data


@pytest.fixture
def three_threads():
    """Torch may take three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_few_take_one_and_afterwards_there_are_all_again():
    with threads_for(1):
        assert torch.get_num_threads() == 1
        with threads_for(FEW):  # many within few, as pieces of a long prompt are
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with threads_for(FEW):
        assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), threads_for(FEW - 1):
        raise KeyError
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_router_that_is_asked_one_prompt_takes_one(tmp_path, monkeypatch):
    finished_run(routing_data(), RIDGE, tmp_path)
    router, seen, scores = load(tmp_path), [], Bundle.scores

    def spied(bundle, features):
        seen.append(torch.get_num_threads())
        return scores(bundle, features)

    monkeypatch.setattr(Bundle, "scores", spied)
    router.route(["prove it"])
    router.route(["prove it"] * FEW)
    assert seen == [1, 3]
