"""InternLM2-reward against a small model of the documented interface, whose class lies beside its weights.

The released code was not to be had. What is taken from its card: ``reward_token_id``, one logit per row, of the last
token that the attention mask shows, ``get_score`` as the reference.
"""

import json
from pathlib import Path

import pytest
import torch

from erp.collect.rewards.base import Pair
from erp.collect.rewards.internlm2 import InternLM2Reward
from erp.errors import ErpError
from tests.collect.rewards.tiny import PAIRS, SMALL, chat_tokenizer, code_kept_in, fed, shown

CODE = """
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

class TinyInternLM2ForRewardModel(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.v_head = nn.Linear(config.hidden_size, 1, bias=False)
        self.reward_token_id = config.reward_token_id
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, use_cache=None):
        assert not (self.config.use_cache if use_cache is None else use_cache), "the remote code has no new caches"
        hidden = self.v_head(self.model(input_ids, attention_mask=attention_mask, use_cache=False)[0])
        ends = attention_mask.cumsum(dim=1).argmax(dim=1).view(-1, 1)
        return SequenceClassifierOutputWithPast(logits=torch.gather(hidden.squeeze(-1), 1, ends))

    @torch.no_grad()
    def get_score(self, tokenizer, conversation):
        text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=False)
        ids = tokenizer.encode(text, return_tensors="pt", add_special_tokens=False)
        ids = torch.cat([ids, torch.tensor([[self.reward_token_id]])], dim=1)
        return self.forward(ids, torch.ones_like(ids, dtype=torch.bool))[0].item()
"""
REWARD_TOKEN = 7


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("internlm2")
    tokenizer = chat_tokenizer()
    torch.manual_seed(3)
    config = LlamaConfig(**SMALL, vocab_size=len(tokenizer), reward_token_id=REWARD_TOKEN, pad_token_id=2)
    names = {}
    exec(CODE, names)
    network = names["TinyInternLM2ForRewardModel"](config).eval()
    network.config.use_cache = False
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    written |= {"auto_map": {"AutoModel": "modeling_tiny.TinyInternLM2ForRewardModel"}, "use_cache": True}
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "modeling_tiny.py").write_text(CODE)
    with code_kept_in(tmp_path_factory.mktemp("modules")):
        yield str(folder), network, tokenizer


def adapter(folder, **settings):
    settings = {"max_tokens": 256, "dtype": "float32", "device": "cpu", "trust_remote_code": True} | settings
    return InternLM2Reward(folder, **settings)


def copied(folder, to, code):
    for file in Path(folder).iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    (to / "modeling_tiny.py").write_text(code)


def by_hand(network, tokenizer, pair):
    turns = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
    return network.get_score(tokenizer, turns)


def test_scores_are_those_of_get_score_alone_or_in_a_batch(saved):
    folder, network, tokenizer = saved
    model = adapter(folder)
    together = model.score(PAIRS)
    assert together == pytest.approx([by_hand(network, tokenizer, pair) for pair in PAIRS], abs=1e-5)
    assert [model.score([pair])[0] for pair in PAIRS] == pytest.approx(together, abs=1e-5)
    assert len({round(score, 4) for score in together}) == len(PAIRS)


def test_every_row_ends_in_the_reward_token_and_has_one_bos(saved):
    _, calls = fed(adapter(saved[0]), PAIRS)
    for row in shown(calls[0]):
        assert row[-1] == REWARD_TOKEN
        assert row.count(saved[2].bos_token_id) == 1


def test_a_long_response_is_cut_before_the_template_and_the_reward_token(saved):
    folder, network, tokenizer = saved
    long = Pair("How do I bake bread?", "Mix flour, water and salt; knead it well. " * 9)
    model = adapter(folder, max_tokens=40)
    scores, calls = fed(model, [long])
    (ids,) = shown(calls[0])
    assert 38 <= len(ids) <= 40
    assert ids[-1] == REWARD_TOKEN
    assert tokenizer.convert_ids_to_tokens(ids[-3:-1]) == ["<|end|>", "Ċ"]
    kept = tokenizer.decode(ids[:-1]).split("<|assistant|>\n")[1].removesuffix("<|end|>\n")
    assert scores == pytest.approx([by_hand(network, tokenizer, Pair(long.prompt, kept))], abs=1e-5)
    assert model.counts == {"truncated": 1}


def test_code_is_not_run_unless_it_is_said(saved):
    with pytest.raises(ErpError, match=r"reward_model.trust_remote_code = false: .* pin reward_model.revision"):
        InternLM2Reward(saved[0], max_tokens=64)


def test_code_that_would_score_the_padding_is_refused_or_given_one_text_at_a_time(saved, tmp_path):
    folder, network, tokenizer = saved
    last_column = CODE.replace("attention_mask.cumsum(dim=1).argmax(dim=1)", "torch.full((len(input_ids),), -1)")
    copied(folder, tmp_path, last_column.replace("gather(hidden.squeeze(-1), 1, ends)", "select(hidden, 1, -1)"))
    with pytest.raises(ErpError, match=r"alone and .* say reward_model.batch_tokens=1"):
        adapter(str(tmp_path)).score(PAIRS)
    scores = adapter(str(tmp_path), batch_tokens=1).score(PAIRS)
    assert scores == pytest.approx([by_hand(network, tokenizer, pair) for pair in PAIRS], abs=1e-5)


def test_code_that_does_not_run_with_the_installed_transformers_is_one_line(saved, tmp_path):
    copied(saved[0], tmp_path, "from transformers import AClassOfLongAgo\n")
    with pytest.raises(ErpError, match=r"cannot be loaded .*AClassOfLongAgo") as caught:
        adapter(str(tmp_path)).score(PAIRS)
    assert len(caught.value.faults) == 1
