"""Encoders over pairs of texts: a small DeBERTa v3, judged by the tokenizer's and the network's own calls."""

import pytest
import torch
import yaml

from erp.build import build
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.rewards.pair import PairEncoder
from erp.collect.score import adapter_node
from erp.compose import conf_folder
from erp.errors import ErpError
from tests.collect.rewards.tiny import CORPUS, deberta, fed, shown

PAIRS = [
    Pair("How do I bake bread?", "Mix flour and water, let it rise, bake it."),
    Pair("How do I bake bread?", "At home."),
    Pair("How do I bake bread?", "[SEP] knead it [PAD] well [PAD]"),
    Pair("Salt?", ""),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return deberta(tmp_path_factory.mktemp("deberta"))


def adapter(folder, **settings):
    settings = {"max_tokens": 512, "dtype": "float32", "attention": "eager", "device": "cpu"} | settings
    return PairEncoder(folder, **settings)


def by_hand(network, tokenizer, pair, **truncation):
    with torch.inference_mode():
        inputs = tokenizer(pair.prompt, pair.response, return_tensors="pt", **truncation)
        return network(**inputs).logits[0].item()


def test_scores_are_the_logits_of_the_pair(saved):
    folder, network, tokenizer = saved
    scores = adapter(folder).score(PAIRS)
    assert scores == pytest.approx([by_hand(network, tokenizer, pair) for pair in PAIRS], abs=1e-5)
    assert len({round(score, 4) for score in scores}) == len(PAIRS)


def test_prompt_and_response_are_joined_as_a_pair(saved):
    _, calls = fed(adapter(saved[0]), PAIRS[1:2])
    (ids,) = shown(calls[0])
    assert saved[2].decode(ids) == "[CLS] How do I bake bread ? [SEP] At home . [SEP]"
    assert calls[0]["token_type_ids"].tolist() == [[0] * (ids.index(2) + 1) + [1] * (len(ids) - ids.index(2) - 1)]


def test_a_pair_scores_alike_alone_and_in_a_batch(saved):
    model = adapter(saved[0])
    together = model.score(PAIRS)
    assert [model.score([pair])[0] for pair in PAIRS] == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("limit", [16, 17, 30])
def test_the_response_is_cut_as_only_second_does(saved, limit):
    folder, network, tokenizer = saved
    assert tokenizer.model_max_length > 1e29
    long = Pair("How do I bake bread?", CORPUS[1] * 3)
    model = adapter(folder, max_tokens=limit)
    scores, calls = fed(model, [long])
    cut = {"truncation": "only_second", "max_length": limit}
    assert shown(calls[0]) == [tokenizer(long.prompt, long.response, **cut)["input_ids"]]
    assert scores == pytest.approx([by_hand(network, tokenizer, long, **cut)], abs=1e-5)
    assert model.counts == {"truncated": 1}


def test_a_prompt_longer_than_the_window_is_cut_too(saved):
    folder, _, tokenizer = saved
    model = adapter(folder, max_tokens=32)
    long = Pair("bake bread " * 40, "salt " * 40)
    _, calls = fed(model, [long])
    (ids,) = shown(calls[0])
    words = tokenizer.convert_ids_to_tokens(ids)
    assert len(ids) <= 32
    assert words.count("[SEP]") == 2
    assert words[-1] == "[SEP]"
    assert tokenizer.decode(ids[:4]).startswith("[CLS] bake bread")
    response = ids[ids.index(2) + 1 : -1]
    assert 0 < len(response) <= 8  # a quarter of 32
    assert model.counts == {"truncated": 1, "prompt_truncated": 1}


def test_a_short_response_to_a_long_prompt_stays_whole(saved):
    model = adapter(saved[0], max_tokens=32)
    _, calls = fed(model, [Pair("bake bread " * 40, "At home.")])
    assert saved[2].decode(shown(calls[0])[0]).endswith("[SEP] At home . [SEP]")
    assert model.counts == {"prompt_truncated": 1}


def test_about_says_how_it_was_called(saved):
    assert adapter(saved[0], revision="v2").about() == {
        "model": saved[0],
        "revision": "v2",
        "dtype": "float32",
        "attention": "eager",
        "max_tokens": 512,
        "device": "cpu",
    }


def shipped(folder, **options):
    """The adapter as its config file has it, of the weights in a folder."""
    node = yaml.safe_load((conf_folder() / "reward_model/openassistant_deberta.yaml").read_text())
    settings = adapter_node(node) | {"model": folder, "device": "cpu"} | options
    return build(settings, RewardAdapter, key="reward_model")


def test_relative_positions_take_texts_beyond_those_of_the_pretraining(saved):
    folder, network, tokenizer = saved
    assert network.config.max_position_embeddings == 64
    model = shipped(folder)
    words = (
        Pair("How do I bake bread?", "salt " * 900 + "At home."),
        Pair("How do I bake bread?", "salt " * 901 + "yeast"),
    )
    assert all(512 < len(tokenizer(pair.prompt, pair.response)["input_ids"]) <= 2048 for pair in words)
    scores = model.score(words)
    assert scores == pytest.approx([by_hand(network, tokenizer, pair) for pair in words], abs=1e-5)
    assert not model.counts  # whole, though they differ in their last words alone
    assert abs(scores[0] - scores[1]) > 1e-3
    long = Pair("How do I bake bread?", "salt " * 2100)
    cut = {"truncation": "only_second", "max_length": 2048}
    assert model.score([long]) == pytest.approx([by_hand(network, tokenizer, long, **cut)], abs=1e-5)
    assert model.counts == {"truncated": 1}
    assert model.notes(model.counts, 3) == ["1 of 3 responses (33.3%) were cut to fit into max_tokens = 2048"]


def test_positions_from_the_beginning_are_no_more_than_there_are(tmp_path):
    folder, network, tokenizer = deberta(tmp_path, position_biased_input=True)
    with pytest.raises(ErpError, match=r"reward_model\.max_tokens = 65: .* has positions for 64; give no more"):
        adapter(folder, max_tokens=65).score(PAIRS)
    scores = adapter(folder, max_tokens=64).score(PAIRS)
    assert scores == pytest.approx([by_hand(network, tokenizer, pair) for pair in PAIRS], abs=1e-5)
