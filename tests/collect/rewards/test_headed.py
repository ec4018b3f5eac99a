"""Heads of more than one linear layer, and under other names: the released layouts in small, judged by hand."""

import pytest
from torch.nn.functional import linear, relu

from erp.collect.rewards.base import Pair
from erp.collect.rewards.headed import ScoreHead, TwoLayers
from erp.errors import ErpError
from tests.collect.rewards.released import LOCAL, WIDE, last_state, numbers, shipped, written
from tests.collect.rewards.tiny import PAIRS, chat_tokenizer

# As Qwen's: a system message of the model's own where the conversation has none, no token in front.
QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|user|>Be helpful.<|end|>\n{% endif %}"
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
)


TWO = {
    "score.0.weight": numbers(WIDE, WIDE, seed=1),
    "score.0.bias": numbers(WIDE, seed=2),
    "score.2.weight": numbers(1, WIDE, seed=3),
    "score.2.bias": numbers(1, seed=4),
}


def two_layers(state):
    hidden = relu(linear(state, TWO["score.0.weight"], TWO["score.0.bias"]))
    return linear(hidden, TWO["score.2.weight"], TWO["score.2.bias"]).item()


QWEN_CODE = {
    "architectures": ["Qwen2ForRewardModel"],
    "auto_map": {
        "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
        "AutoModel": "modeling_qwen2_rm.Qwen2ForRewardModel",
    },
}


@pytest.mark.parametrize(
    ("stem", "made", "config"),
    [("qwen2_5_math_rm_72b", "qwen2", QWEN_CODE), ("inf_orm_llama3_1_70b", "llama", {})],
)
def test_two_layers_are_applied_to_the_last_token(tmp_path, stem, made, config):
    tokenizer = chat_tokenizer(bos=made == "llama", template=QWEN)
    base = written(tmp_path, made, TWO, tokenizer, **config)
    model = shipped(stem, tmp_path)
    scores = model.score(PAIRS)
    system = r"<|system|>" + "\nPlease reason step by step, and put your final answer within \\boxed{}.<|end|>\n"
    front = system if made == "qwen2" else "<|user|>Be helpful.<|end|>\n"
    bos = [tokenizer.bos_token_id] if made == "llama" else []
    for pair, score in zip(PAIRS, scores, strict=True):
        text = f"{front}<|user|>\n{pair.prompt}<|end|>\n<|assistant|>\n{pair.response}<|end|>\n"
        ids = bos + tokenizer(text, add_special_tokens=False)["input_ids"]
        assert score == pytest.approx(two_layers(last_state(base, ids)), abs=1e-5)
    assert [model.score([pair])[0] for pair in PAIRS] == pytest.approx(scores, abs=1e-5)
    assert len({round(score, 4) for score in scores}) == len(PAIRS)


def test_a_conversations_own_system_message_stands_alone_and_a_long_prompt_drops_none(tmp_path):
    tokenizer = chat_tokenizer(bos=False, template=QWEN)
    base = written(tmp_path, "qwen2", TWO, tokenizer)
    turns = ({"role": "system", "content": "Be a baker."}, {"role": "user", "content": "Salt?"})
    (score,) = TwoLayers(str(tmp_path), system="Be brief.", **LOCAL).score([Pair("", "At home.", messages=turns)])
    text = "<|system|>\nBe a baker.<|end|>\n<|user|>\nSalt?<|end|>\n<|assistant|>\nAt home.<|end|>\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert score == pytest.approx(two_layers(last_state(base, ids)), abs=1e-5)
    short = TwoLayers(str(tmp_path), system="Be brief.", **(LOCAL | {"max_tokens": 60}))
    short.load_tokenizer()
    kept = tokenizer.decode(short.fitted(Pair("bake " * 90, "At home.")).row["input_ids"])
    assert kept.startswith("<|system|>\nBe brief.<|end|>\n<|user|>\nbake bake")
    assert kept.endswith("<|assistant|>\nAt home.<|end|>\n")


@pytest.mark.parametrize("bias", [False, True])
def test_beavers_score_is_its_head_on_the_last_token_of_its_format(tmp_path, bias):
    tokenizer = chat_tokenizer(template=None)  # none is released
    head = {"score_head.weight": numbers(1, WIDE, seed=6)}
    head |= {"score_head.bias": numbers(1, seed=7)} if bias else {}
    code = {"architectures": ["LlamaModelForScore"], "bias": bias, "score_dim": 1}
    base = written(tmp_path, "llama", head, tokenizer, **code)
    turns = (
        {"role": "user", "content": "Bake?"},
        {"role": "assistant", "content": "Bread."},
        {"role": "user", "content": "Salt?"},
    )
    asked = {"USER: Salt? ASSISTANT:At home.</s>": Pair("Salt?", "At home.")}
    asked["USER: Bake? ASSISTANT:Bread.</s>USER: Salt? ASSISTANT:No.</s>"] = Pair("", "No.", messages=turns)
    for stem in ("beaver_reward", "beaver_cost"):
        scores = shipped(stem, tmp_path).score(list(asked.values()))
        for text, score in zip(asked, scores, strict=True):
            written_out = f"BEGINNING OF CONVERSATION: {text}"
            ids = [tokenizer.bos_token_id, *tokenizer(written_out, add_special_tokens=False)["input_ids"]]
            by_hand = linear(last_state(base, ids), head["score_head.weight"], head.get("score_head.bias")).item()
            assert score == pytest.approx(by_hand, abs=1e-5)


def test_beaver_refuses_what_it_cannot_say_or_do(tmp_path):
    tokenizer, head = chat_tokenizer(template=None), {"score_head.weight": numbers(1, WIDE)}
    written(tmp_path, "llama", head, tokenizer, do_normalize=True)
    with pytest.raises(ErpError, match=r"config.json says do_normalize.* say false there"):
        ScoreHead(str(tmp_path), **LOCAL).score(PAIRS)
    written(tmp_path, "llama", head, tokenizer, do_normalize=False)
    system = ({"role": "system", "content": "Be a baker."}, {"role": "user", "content": "Salt?"})
    with pytest.raises(ErpError, match=r"refuses a conversation of the turns system, user.*it knows no system"):
        shipped("beaver_reward", tmp_path).score([Pair("", "No.", messages=system)])


def test_a_head_without_its_weights_is_refused(tmp_path):
    written(tmp_path, "llama", {"score.weight": numbers(1, WIDE)}, chat_tokenizer())
    with pytest.raises(ErpError, match=r"has no weights for score\.0\.bias.*the _target_ it is made for"):
        TwoLayers(str(tmp_path), **LOCAL).score(PAIRS)


@pytest.mark.parametrize("stem", ["eurus_rm_7b", "openassistant_deberta"])
def test_models_that_read_no_template_take_none(tmp_path, stem):
    with pytest.raises(ErpError, match=r"reward_model\.chat_template, system: .* is fed no chat template"):
        shipped(stem, tmp_path, system="Be brief.")
