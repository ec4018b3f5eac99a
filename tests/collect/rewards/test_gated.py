"""Heads that are mixed by a gate: the released layouts in small, judged by the formulas written out."""

import json
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import leaky_relu, linear, relu
from transformers import AddedToken, Gemma2Config, Gemma2Model

from erp.collect.rewards.base import Pair
from erp.errors import ErpError
from tests.collect.rewards.released import WIDE, last_state, numbers, shipped, written
from tests.collect.rewards.tiny import PAIRS, SMALL, chat_tokenizer

# As Llama 3.1's, but for the system message.
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
)
HEADER = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
OBJECTIVES, QUANTILES, GATE, TEMPERATURE = 3, 4, 12, 5.0


def quantile_head():
    """Weights under their released names, and the score of the states at the last token and at the prompt's end."""
    weights = {
        "regression_layer.weight": numbers(OBJECTIVES * QUANTILES, WIDE, seed=11),
        "reward_transform_matrix": torch.eye(OBJECTIVES) + 0.1 * numbers(OBJECTIVES, OBJECTIVES, seed=12),
        "gating.logit_scale": torch.tensor([1.5]),
        "gating.layers.0.weight": numbers(GATE, WIDE, seed=13),
        "gating.layers.3.weight": numbers(GATE, GATE, seed=14),
        "gating.layers.6.weight": numbers(OBJECTIVES, GATE, seed=15),
        "gating.layers.6.bias": numbers(OBJECTIVES, seed=16),
    }
    for i, name in enumerate(["gating.layers.2", "gating.layers.5"]):
        weights |= {f"{name}.{part}": numbers(GATE, seed=20 + 4 * i + j) for j, part in enumerate(["weight", "bias"])}
        weights |= {f"{name}.running_mean": numbers(GATE, seed=40 + i), f"{name}.running_var": torch.full((GATE,), 2.0)}
        weights |= {f"{name}.num_batches_tracked": torch.tensor(7)}

    def normed(state, name):
        over = (weights[f"{name}.running_var"] + 1e-5).sqrt()
        return (state - weights[f"{name}.running_mean"]) / over * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def score(last, prompt):
        gate = normed(relu(weights["gating.layers.0.weight"] @ prompt), "gating.layers.2")
        gate = normed(relu(weights["gating.layers.3.weight"] @ gate), "gating.layers.5")
        gate = weights["gating.layers.6.weight"] @ gate + weights["gating.layers.6.bias"]
        gate = 1.5 * torch.exp(gate / TEMPERATURE) / torch.exp(gate / TEMPERATURE).sum()
        rewards = weights["regression_layer.weight"] @ last
        means = [rewards[i * QUANTILES : (i + 1) * QUANTILES].sum() / QUANTILES for i in range(OBJECTIVES)]
        return (gate @ (torch.stack(means) @ weights["reward_transform_matrix"])).item()

    return weights, score


def quantiles(folder):
    """A QRM in small; its tokenizer, and the score by hand of a text's ids."""
    tokenizer = chat_tokenizer(template=LLAMA)
    special = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    weights, of_states = quantile_head()
    config = {
        "num_objectives": OBJECTIVES, "num_quantiles": QUANTILES, "gating_hidden_dim": GATE, "gating_n_hidden": 2,
        "gating_temperature": TEMPERATURE, "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.Gated"},
    }  # fmt: skip
    base = written(folder, "llama", weights, tokenizer, **config)
    header = tokenizer(HEADER, add_special_tokens=False)["input_ids"]

    def by_hand(ids):
        places = [at for at in range(len(ids)) if ids[at : at + len(header)] == header]
        with torch.inference_mode():
            states = base(torch.tensor([ids])).last_hidden_state[0]
        return of_states(states[-1], states[places[-1]])

    return tokenizer, by_hand


def spoken(tokenizer, *turns):
    said = "".join(f"<|start_header_id|>{who}<|end_header_id|>\n\n{text}<|eot_id|>" for who, text in turns)
    return [tokenizer.bos_token_id, *tokenizer(said, add_special_tokens=False)["input_ids"]]


def test_quantiles_are_mixed_by_a_gate_at_the_prompts_end(tmp_path):
    tokenizer, by_hand = quantiles(tmp_path)
    model = shipped("qrm_llama3_1_8b_v2", tmp_path)
    pairs = [Pair(pair.prompt.strip(), pair.response.strip()) for pair in PAIRS]
    scores = model.score(pairs)
    rows = [spoken(tokenizer, ("user", pair.prompt), ("assistant", pair.response)) for pair in pairs]
    assert scores == pytest.approx([by_hand(ids) for ids in rows], abs=1e-5)
    assert [model.score([pair])[0] for pair in pairs] == pytest.approx(scores, abs=1e-5)
    assert len({round(score, 4) for score in scores}) == len(pairs)
    turns = [("user", "Bake?"), ("assistant", "Bread."), ("user", "Salt?")]  # the last header counts
    talk = Pair("", "No.", messages=tuple({"role": who, "content": text} for who, text in turns))
    assert model.score([talk]) == pytest.approx([by_hand(spoken(tokenizer, *turns, ("assistant", "No.")))], abs=1e-5)


def test_a_text_without_the_gates_header_has_no_score(tmp_path):
    quantiles(tmp_path)
    model = shipped("qrm_llama3_1_8b_v2", tmp_path, chat_template="{{ messages[-1]['content'] }}")
    assert model.score([Pair("Salt?", HEADER + "No."), Pair("Salt?", "At home."), Pair("Salt?", "")])[1:] == [None] * 2
    assert model.counts == {"non_finite": 2}


def label_distributions(folder, *, soft):
    """An LDL in small: base weights without a prefix, the head's in two files; tokenizer, and score by hand."""
    tokenizer, objectives = chat_tokenizer(), 3
    torch.manual_seed(8)
    config = Gemma2Config(
        **SMALL, vocab_size=len(tokenizer), num_key_value_heads=2, head_dim=8, attn_implementation="eager"
    )
    base = Gemma2Model(config).eval()
    base.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text()) | {"num_objectives": 10 * objectives}
    said |= {"softmax": True, "temperature": 4.0} if soft else {}
    (folder / "config.json").write_text(json.dumps(said))
    layers = {}
    for part, places, widths in (
        ("regression_layer", (0, 2, 4), (WIDE, 20, 20, 10 * objectives)),
        ("gating_layer", (0, 3, 6), (WIDE, 16, 16, objectives)),  # dropouts are counted
    ):
        of_part = {}
        for at, (wide, narrow) in zip(places, pairwise(widths), strict=True):
            of_part[f"network.{at}.weight"] = numbers(narrow, wide, seed=50 + at)
            of_part[f"network.{at}.bias"] = numbers(narrow, seed=60 + at)
        torch.save(of_part, folder / f"{part}.pt")
        layers[part] = [(of_part[f"network.{at}.weight"], of_part[f"network.{at}.bias"]) for at in places]

    def through(part, state):
        for i, (weight, bias) in enumerate(layers[part]):
            state = linear(state if i == 0 else leaky_relu(state, 0.01), weight, bias)
        return state

    def by_hand(ids):
        state = last_state(base, ids)
        grades = through("regression_layer", state).reshape(objectives, 10).softmax(1)
        gate = through("gating_layer", state)
        gate = (gate / 4.0).softmax(0) if soft else gate
        return sum(gate[i].item() * grades[i, k].item() * k / 9 for i in range(objectives) for k in range(10))

    return tokenizer, by_hand


@pytest.mark.parametrize("soft", [False, True])
def test_label_distributions_are_mixed_and_averaged(tmp_path, capfd, soft):
    tokenizer, by_hand = label_distributions(tmp_path, soft=soft)
    model = shipped("ldl_gemma2_27b", tmp_path)
    scores = model.score(PAIRS)
    for pair, score in zip(PAIRS, scores, strict=True):
        text = f"<|user|>\n{pair.prompt.strip()}<|end|>\n<|assistant|>\n{pair.response.strip()}<|end|>\n"
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert score == pytest.approx(by_hand(ids), abs=1e-5)
    assert [model.score([pair])[0] for pair in PAIRS] == pytest.approx(scores, abs=1e-5)
    assert "MISSING" not in capfd.readouterr().err


def test_label_distributions_without_a_file_of_their_own(tmp_path):
    label_distributions(tmp_path, soft=False)
    (tmp_path / "gating_layer.pt").unlink()
    with pytest.raises(ErpError, match=r"cannot be loaded from .*gating_layer\.pt.*put all of its files there"):
        shipped("ldl_gemma2_27b", tmp_path).score(PAIRS)


@pytest.mark.parametrize(
    ("stem", "write"), [("qrm_llama3_1_8b_v2", quantiles), ("ldl_gemma2_27b", label_distributions)]
)
def test_released_float32_heads_stay_so_beside_a_bfloat16_base_model(tmp_path, stem, write):
    write(tmp_path, **({"soft": False} if write is label_distributions else {}))
    model = shipped(stem, tmp_path, dtype="bfloat16")
    model.score(PAIRS)
    assert {weight.dtype for weight in model._network.score.parameters()} == {torch.float32}
    assert {weight.dtype for weight in model._network.model.parameters()} == {torch.bfloat16}
