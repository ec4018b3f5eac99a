"""ArmoRM against a small model of the documented interface, whose class lies beside its weights.

The released code was not to be had. What is taken from its card and from what is known of it: ``output.score``, the
last token found by the padding token (the one before the first), the error without an assistant's header, an import
that transformers no longer offers.
"""

import json

import pytest
import torch

from erp.collect.rewards.armorm import ArmoRM
from erp.collect.rewards.base import Pair
from erp.errors import ErpError
from tests.collect.rewards.tiny import PAIRS, SMALL, chat_tokenizer, code_kept_in, fed, shown

CODE = """
from dataclasses import dataclass
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.models.llama.modeling_llama import LLAMA_INPUTS_DOCSTRING
from transformers.utils import ModelOutput, add_start_docstrings_to_model_forward

@dataclass
class Mixed(ModelOutput):
    rewards: torch.Tensor = None
    gating_output: torch.Tensor = None
    score: torch.Tensor = None
    logits: torch.Tensor = None

HEADER = [5, 208, 4, 208]  # <|end|> newline <|assistant|> newline: filled in by the test

def gate_at(ids):
    for start in range(len(ids) - len(HEADER), -1, -1):
        if ids[start : start + len(HEADER)] == HEADER:
            return start
    raise ValueError("Token pattern not found in the list.")

class TinyArmo(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, 19, bias=False)
        self.post_init()
        self.gating = nn.Linear(config.hidden_size, 19)  # after post_init, as released

    @add_start_docstrings_to_model_forward(LLAMA_INPUTS_DOCSTRING)
    def forward(self, input_ids=None, attention_mask=None):
        hidden = self.model(input_ids, attention_mask=attention_mask)[0]
        ends = torch.eq(input_ids, self.config.pad_token_id).int().argmax(-1) - 1
        rows = torch.arange(len(input_ids))
        rewards = self.regression_layer(hidden[rows, ends % input_ids.shape[-1]])
        gates = self.gating(hidden[rows, [gate_at(ids.tolist()) for ids in input_ids]]).softmax(-1)
        score = (rewards * gates).sum(-1)
        return Mixed(rewards=rewards, gating_output=gates, score=score, logits=score * 0)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("armo")
    tokenizer = chat_tokenizer()
    header = tokenizer("<|end|>\n<|assistant|>\n", add_special_tokens=False)["input_ids"]
    code = CODE.replace("[5, 208, 4, 208]", str(header))
    torch.manual_seed(4)
    config = LlamaConfig(**SMALL, vocab_size=len(tokenizer), num_labels=1, pad_token_id=tokenizer.pad_token_id)
    names = {}
    exec("\n".join(line for line in code.splitlines() if "LLAMA_INPUTS_DOCSTRING" not in line), names)
    network = names["TinyArmo"](config).eval()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    written["auto_map"] = {"AutoModelForSequenceClassification": "modeling_tiny.TinyArmo"}
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "modeling_tiny.py").write_text(code)
    with code_kept_in(tmp_path_factory.mktemp("modules")):
        yield str(folder), network, tokenizer


def adapter(folder, **settings):
    settings = {"max_tokens": 256, "dtype": "float32", "device": "cpu", "trust_remote_code": True} | settings
    return ArmoRM(folder, **settings)


def by_hand(network, tokenizer, pair):
    """The network's parts by name, one row: its last token, and the gate at the header."""
    turns = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt")["input_ids"]
    header = tokenizer("<|end|>\n<|assistant|>\n", add_special_tokens=False)["input_ids"]
    row = ids[0].tolist()
    (gate,) = [i for i in range(len(row)) if row[i : i + len(header)] == header]
    with torch.inference_mode():
        hidden = network.model(ids)[0][0]
        return (network.regression_layer(hidden[-1]) * network.gating(hidden[gate]).softmax(-1)).sum().item()


def test_scores_are_the_mixed_ones_alone_or_in_a_batch_padding_token_in_the_text_or_not(saved):
    folder, network, tokenizer = saved
    model = adapter(folder)
    together = model.score(PAIRS)
    assert together == pytest.approx([by_hand(network, tokenizer, pair) for pair in PAIRS], abs=1e-5)
    assert [model.score([pair])[0] for pair in PAIRS] == pytest.approx(together, abs=1e-5)
    assert len({round(score, 4) for score in together}) == len(PAIRS)


def test_a_model_of_several_numbers_is_refused(saved, monkeypatch):
    monkeypatch.setattr(ArmoRM, "read", lambda self, output: output.rewards)
    with pytest.raises(ErpError, match="gives 19 numbers for 1 pairs"):
        adapter(saved[0]).score(PAIRS[:2])


def test_one_bos_is_fed(saved):
    _, calls = fed(adapter(saved[0]), PAIRS[:2])
    assert [row.count(saved[2].bos_token_id) for row in shown(calls[0])] == [1, 1]


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [("How do I bake bread?", {"truncated": 1}), ("bake " * 200, {"truncated": 1, "prompt_truncated": 1})],
)
def test_the_header_is_never_cut_away(saved, prompt, counts):
    model = adapter(saved[0], max_tokens=40)
    _, calls = fed(model, [Pair(prompt, "Mix flour, water and salt; knead it well. " * 9)])
    (ids,) = shown(calls[0])
    assert len(ids) <= 40
    assert "<|end|>\n<|assistant|>\n" in saved[2].decode(ids)
    assert saved[2].decode(ids).endswith("<|end|>\n")
    assert model.counts == counts


def test_code_is_not_run_unless_it_is_said(saved):
    with pytest.raises(ErpError, match=r"reward_model.trust_remote_code = false: .* pin reward_model.revision"):
        ArmoRM(saved[0], max_tokens=64)
