"""Sampling with a small Llama, judged by plain forward passes of the same weights."""

import json
from collections import Counter
from functools import wraps

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
)

from erp.build import build
from erp.compose import conf_folder
from erp.config import Member
from erp.engines.base import Engine, Failure, NextToken, Request, Response
from erp.engines.transformers import TransformersEngine
from erp.errors import ErpError
from erp.files import sha256_file
from tests.engines.calls import sampled
from tests.engines.tiny import TEMPLATE, WITHOUT_BOS, tiny_llama, tiny_tokenizer

PROMPTS = [
    "Is the capital of France Paris?",
    "Yes?",
    "Write a short poem about the sea, the wind and the rain. What is the sum of two and three?",
]
TOKENIZER = tiny_tokenizer()
END, TURN_END = 2, 3  # </s>, <|end|>


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # what a release recommends is not what the member asks for
    recommended = {"do_sample": True, "top_k": 3, "repetition_penalty": 3.0, "temperature": 0.1}
    torch.set_num_threads(1)
    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny", **recommended)


@pytest.fixture(scope="module")
def plain(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(dtype="float32", device="cpu", batch_size=8)


@pytest.fixture
def another():
    """An engine of the test's own, so that the shared one keeps its model."""
    return TransformersEngine(dtype="float32", device="cpu", batch_size=8)


def member(folder, **decoding):
    return Member(name="tiny", model=str(folder), decoding={"max_tokens": 12, **decoding})


def requests(prompts=PROMPTS, seed=0):
    return [Request(({"role": "user", "content": prompt},), seed) for prompt in prompts]


def run(engine, asked, who, k=1):
    answers = list(sampled(engine, asked, who, k))
    assert sorted(position for position, _ in answers) == list(range(len(asked)))
    return [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


def texts(answers):
    return [[response.text for response in answer] for answer in answers]


def prompt_ids(prompt):
    return TOKENIZER(f"<s><|user|>{prompt}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]


@torch.no_grad()
def logits(model, ids):
    return model(torch.tensor([ids])).logits[0, -1].double()


def by_hand(model, prompt, tokens):
    """Greedy token ids, one full forward pass each."""
    ids, said = prompt_ids(prompt), []
    while len(said) < tokens and not set(said) & {END, TURN_END}:
        said.append(int(logits(model, ids + said).argmax()))
    return said


def test_greedy_is_the_likeliest_token_again_and_again(engine, plain, folder):
    for prompt, (first, second) in zip(
        PROMPTS, run(engine, requests(), member(folder, temperature=0), k=2), strict=True
    ):
        said = by_hand(plain, prompt, 12)
        assert first.text == TOKENIZER.decode(said, skip_special_tokens=True)
        assert (first.prompt_tokens, first.completion_tokens) == (len(prompt_ids(prompt)), len(said))
        assert first.finish_reason == ("stop" if said[-1] in (END, TURN_END) else "length")
        assert second == first


@pytest.mark.parametrize(
    "decoding", [{"temperature": 0}, {"temperature": 1.0}, {"top_p": 0.8, "top_k": 20, "min_p": 0.01}]
)
def test_a_response_does_not_depend_on_what_it_is_batched_with(engine, folder, decoding):
    who = member(folder, **decoding)
    together = run(engine, requests(), who, k=3)
    alone = [run(engine, [request], who, k=3)[0] for request in requests()]
    singly = run(TransformersEngine(dtype="float32", device="cpu", batch_size=1), requests(), who, k=3)
    assert together == alone == singly


def test_the_seed_decides_and_sample_j_is_drawn_with_seed_plus_j(engine, folder):
    who = member(folder)
    first = texts(run(engine, requests(seed=7), who, k=4))
    assert texts(run(engine, requests(seed=7), who, k=4)) == first
    assert all(len(set(samples)) == 4 for samples in first)
    for j in range(4):
        alone = texts(run(engine, requests(seed=7 + j), who))
        assert [samples[j] for samples in first] == [text for (text,) in alone]


def shares(who, draws=3000):
    """How often each text came first after the second prompt."""
    engine = TransformersEngine(dtype="float32", device="cpu", batch_size=500)
    (answer,) = run(engine, requests(PROMPTS[1:2]), who, k=draws)
    return Counter(response.text for response in answer)


def test_null_is_the_models_own_distribution_up_to_its_context(engine, folder):
    def said(**decoding):
        who = member(folder, **decoding)
        return dict(sampled(engine, [Request(who.messages("hello"), 3)], who, 2))

    assert said(temperature=None, top_p=None) == said(temperature=1.0, top_p=1.0)
    assert said(max_tokens=None) == said(max_tokens=10**6)


def expected(logits, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0):
    """Probabilities as they are defined, with numpy."""
    p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-p)
    if top_k:
        p[order[top_k:]] = 0
        p /= p.sum()
    if top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p]] = 0  # the token that crosses the line stays
        p /= p.sum()
    p[p < min_p * p.max()] = 0
    return p / p.sum()


@pytest.mark.parametrize(
    "decoding",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.1},
        {"top_k": 30, "top_p": 0.7},
    ],
)
def test_first_tokens_are_as_frequent_as_the_softmax_says(plain, folder, decoding):
    drawn = shares(member(folder, max_tokens=1, **decoding))
    p = expected(logits(plain, prompt_ids(PROMPTS[1])).numpy(), **decoding)
    by_text = Counter()
    for token, share in enumerate(p):
        by_text["" if token in (END, TURN_END) else TOKENIZER.decode([token], skip_special_tokens=True)] += share
    assert set(drawn) <= {text for text, share in by_text.items() if share > 0}
    common = [text for text, share in by_text.items() if share * 3000 >= 8]
    seen = [drawn[text] for text in common] + [3000 - sum(drawn[text] for text in common)]
    due = [by_text[text] * 3000 for text in common] + [3000 * (1 - sum(by_text[text] for text in common))]
    if due[-1] < 1e-6:
        seen, due = seen[:-1], due[:-1]
    assert stats.chisquare(seen, np.array(due) * sum(seen) / sum(due)).pvalue > 1e-3


def test_top_k_of_the_release_does_not_leak_in(folder):
    assert len(shares(member(folder, max_tokens=1), draws=500)) > 50
    assert len(shares(member(folder, max_tokens=1, top_k=4), draws=500)) <= 4


def test_tokens_are_counted_up_to_the_end_of_the_turn(another, plain, tmp_path):
    said = by_hand(plain, PROMPTS[0], 12)
    assert len(said) == 12  # so far nothing ends it
    end = said[5]
    assert end not in said[:5]
    ended = tiny_llama(tmp_path, eos_token_id=[end, 4])
    (short,), (_,), (_,) = run(another, requests(), member(ended, temperature=0))
    assert short == Response(TOKENIZER.decode(said[:5]), len(prompt_ids(PROMPTS[0])), 6, "stop")
    (cut,) = run(another, requests(PROMPTS[:1]), member(ended, temperature=0, max_tokens=5))[0]
    assert cut == Response(TOKENIZER.decode(said[:5]), len(prompt_ids(PROMPTS[0])), 5, "length")


def saying(folder, plain, token, **generation):
    """The model again, which greedily says ``token`` as the sixth to the first prompt; and what it says before."""
    said = by_hand(plain, PROMPTS[0], 12)
    other = tiny_llama(folder, **generation)
    model = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        model.lm_head.weight[token] = 1.01 * model.lm_head.weight[said[5]]
    model.save_pretrained(other)
    (other / "generation_config.json").write_text(json.dumps(generation))
    return other, said[:5]


def test_the_tokenizers_own_end_ends_a_turn_where_the_release_names_none(another, plain, tmp_path):
    forgetful, said = saying(tmp_path, plain, END, eos_token_id=None)
    (answer,) = run(another, requests(), member(forgetful, temperature=0))[0]
    assert answer == Response(TOKENIZER.decode(said), len(prompt_ids(PROMPTS[0])), 6, "stop")


def test_a_special_token_may_be_a_stop_string(another, plain, tmp_path):
    shutdown, said = saying(tmp_path, plain, TURN_END, eos_token_id=END)
    (on,) = run(another, requests(), member(shutdown, temperature=0))[0]
    assert (on.completion_tokens, on.finish_reason) == (12, "length")
    assert on.text.startswith(TOKENIZER.decode(said))
    (answer,) = run(another, requests(), member(shutdown, temperature=0, stop=["<|end|>"]))[0]
    assert answer == Response(TOKENIZER.decode(said), len(prompt_ids(PROMPTS[0])), 6, "stop")


def test_a_stop_string_ends_a_response_and_is_left_out(engine, plain, folder):
    said = by_hand(plain, PROMPTS[2], 12)
    whole = TOKENIZER.decode(said)
    stop = whole[3:6]  # in the middle of a token or across two
    length = next(n for n in range(len(said)) if stop in TOKENIZER.decode(said[:n]))
    asked = member(folder, temperature=0, stop=["not said at all", stop])
    (answer,) = run(engine, requests(), asked)[2]
    assert answer == Response(whole[: whole.index(stop)], len(prompt_ids(PROMPTS[2])), length, "stop")


def test_a_conversation_without_room_fails_alone_and_a_response_ends_with_the_context(another, tmp_path):
    small = tiny_llama(tmp_path, context=40)
    fitting = "Yes " * 14
    room = 40 - len(prompt_ids(fitting))
    assert 0 < room < 12
    (short, long, near) = run(another, requests(["Yes?", "Yes. No. " * 30, fitting]), member(small), k=2)
    assert len(short) == 2
    tokens = len(prompt_ids("Yes. No. " * 30))
    assert long == Failure(f"a conversation of {tokens} tokens; {small} has room for 40", final=True)
    assert {response.completion_tokens for response in near} == {room}
    assert near == run(another, requests([fitting]), member(small), k=2)[0]


def test_learned_positions_are_not_overrun(another, tmp_path):
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(TOKENIZER), n_embd=16, n_layer=1, n_head=2, n_positions=32)
    ).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    (a,), (b,) = run(another, requests(["Yes?", "Yes " * 8]), member(tmp_path, temperature=0, max_tokens=1000))
    for prompt, answer in (("Yes?", a), ("Yes " * 8, b)):
        assert answer.prompt_tokens == len(prompt_ids(prompt))
        assert answer.finish_reason == "stop" or answer.prompt_tokens + answer.completion_tokens == 32


SMALL = {"vocab_size": len(TOKENIZER), "hidden_size": 16, "num_hidden_layers": 2, "initializer_range": 0.3}
ATTENTION = {"intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
FAMILIES = {
    "learned positions": GPT2Config(n_head=2, **SMALL),
    "sliding window": MistralConfig(sliding_window=8, **ATTENTION, **SMALL),
    "tied embeddings": Qwen2Config(tie_word_embeddings=True, **ATTENTION, **SMALL),
    "recurrent": MambaConfig(state_size=4, **SMALL),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_of_models(another, family, tmp_path):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    plain.generation_config = GenerationConfig(eos_token_id=[END, TURN_END])
    plain.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    who = member(tmp_path, temperature=0)
    said = [TOKENIZER.decode(by_hand(plain, prompt, 12), skip_special_tokens=True) for prompt in PROMPTS]
    assert texts(run(another, requests(), who)) == [[text] for text in said]
    odds = another.log_odds(PREFIX, ENDINGS, who, ["Yes"], ["No"])
    assert odds == pytest.approx([full_forward(plain, ending, ["Yes"], ["No"]) for ending in ENDINGS], abs=1e-4)


def test_the_members_template_comes_before_the_models(engine, plain, folder):
    asked = member(folder, temperature=0).model_copy(update={"chat_template": "{{ messages[0]['content'] }}"})
    (answer,) = run(engine, requests(PROMPTS[:1]), asked)[0]
    ids = TOKENIZER(PROMPTS[0])["input_ids"]  # the text has no <s>, so the one of the tokenizer is put there
    assert ids[0] == TOKENIZER.bos_token_id
    assert answer.prompt_tokens == len(ids)
    said = answer.text
    first = int(logits(plain, ids).argmax())
    assert said.startswith(TOKENIZER.decode([first], skip_special_tokens=True))


@pytest.mark.parametrize("template", [TEMPLATE, WITHOUT_BOS])
def test_there_is_exactly_one_bos(engine, folder, template):
    asked = member(folder, temperature=0).model_copy(update={"chat_template": template})
    assert run(engine, requests(), asked) == run(engine, requests(), member(folder, temperature=0))


def test_a_model_without_a_template_is_refused_with_a_remedy(another, tmp_path):
    base = tiny_llama(tmp_path, chat_template=None)
    with pytest.raises(ErpError, match=rf"tiny.chat_template = null: {base} has none of its own; give Jinja text"):
        run(another, requests(), member(base))
    asked = member(base).model_copy(update={"chat_template": TEMPLATE})
    assert len(run(another, requests(), asked)) == 3


def test_a_template_that_refuses_the_conversation_is_told(engine, folder):
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    asked = member(folder).model_copy(update={"chat_template": template})
    assert len(run(engine, requests(), asked)) == 3
    with pytest.raises(ErpError, match=r"tiny\.chat_template: cannot render .*no system role"):
        run(engine, [Request(({"role": "system", "content": "Be brief."}, *requests()[0].messages), 0)], asked)


def test_memory_that_runs_out_halves_the_batch(engine, folder, monkeypatch):
    generate, sizes = LlamaForCausalLM.generate, []

    def scarce(self, tokens, **options):
        sizes.append(len(tokens))
        if len(tokens) > 2 or tokens.shape[1] > 30:
            raise torch.OutOfMemoryError
        return generate(self, tokens, **options)

    before = run(engine, requests(), member(folder), k=4)
    monkeypatch.setattr(LlamaForCausalLM, "generate", scarce)
    first, second, third = run(engine, requests(), member(folder), k=4)
    assert [first, second] == before[:2]
    assert third == Failure(f"out of memory with one sequence of {len(prompt_ids(PROMPTS[2]))} tokens")
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1, 1, 1, 1]


def test_one_model_is_held_and_close_lets_it_go(folder, tmp_path, monkeypatch):
    loads, load = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda f, **o: loads.append(f.name) or load(f, **o))
    engine = TransformersEngine(device="cpu")
    tiny_llama(tmp_path / "other", seed=1)
    engine.look_in(str(tmp_path))
    other = Member(name="other", model="hub/other", decoding={"max_tokens": 3})  # found in weights_dir
    for who in (member(folder), member(folder, temperature=0), other, other):
        run(engine, requests(), who)
    engine.close()
    run(engine, requests(), other)
    assert loads == ["tiny", "other", "other"]


def test_other_weights_than_the_released_are_refused(engine, folder):
    right = sha256_file(folder / "model.safetensors")
    assert len(run(engine, requests(), member(folder).model_copy(update={"sha256": right}))) == 3
    with pytest.raises(ErpError, match="has sha256"):
        run(engine, requests(), member(folder).model_copy(update={"sha256": "0" * 64}))


def test_a_folder_that_is_no_causal_lm_is_named(another, tmp_path):
    broken = tiny_llama(tmp_path)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ErpError, match=r"cannot be loaded as a causal LM \(its weights lack model\.layers\.2"):
        run(another, requests(), member(broken))
    (broken / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(ErpError, match="cannot be loaded as a causal LM"):
        run(another, requests(), member(broken))


def test_the_option_file_builds_and_wrong_options_are_refused():
    node = yaml.safe_load((conf_folder() / "engine" / "transformers.yaml").read_text())
    assert isinstance(build(node, Engine, key="engine"), NextToken)
    with pytest.raises(ErpError, match=r"engine\.batch_size = 0"):
        build({**node, "batch_size": 0}, Engine, key="engine")
    with pytest.raises(ErpError, match=r"engine\.dtype"):
        build({**node, "dtype": "int8"}, Engine, key="engine")
    if not torch.cuda.is_available():
        with pytest.raises(ErpError, match=r"engine\.device = cuda"):
            run(build({**node, "device": "cuda"}, Engine, key="engine"), requests(), member("/nowhere"))


def test_half_an_emoji_reads_as_a_question_mark(engine, folder):
    who = member(folder, temperature=0)
    assert run(engine, requests(["half \ud83d here"]), who) == run(engine, requests(["half ? here"]), who)


PREFIX = ({"role": "system", "content": "Judge."}, {"role": "user", "content": "Is it good? The answer: "})
ENDINGS = ["five", "Yes, it is. Is it?", "", "short " * 12, "five and rain"]


def full_forward(model, ending, yes, no):
    text = f"<s><|system|>Judge.<|end|><|user|>Is it good? The answer: {ending}<|end|><|assistant|>"
    after = logits(model, TOKENIZER(text, add_special_tokens=False)["input_ids"]).log_softmax(-1)
    ours, theirs = ({TOKENIZER(w, add_special_tokens=False)["input_ids"][0] for w in words} for words in (yes, no))
    return float(after[list(ours)].exp().sum().log() - after[list(theirs)].exp().sum().log())


@pytest.mark.parametrize("endings", [ENDINGS, ENDINGS[:1], ["five"] * 3])
def test_log_odds_are_those_of_a_plain_forward_pass(engine, plain, folder, endings):
    yes, no = ["Yes", "yes", "Yes"], ["No"]
    odds = engine.log_odds(PREFIX, endings, member(folder), yes, no)
    assert odds == pytest.approx([full_forward(plain, ending, yes, no) for ending in endings], abs=1e-4)
    small = TransformersEngine(dtype="float32", device="cpu", batch_size=2)
    assert small.log_odds(PREFIX, endings, member(folder), yes, no) == pytest.approx(odds, abs=1e-4)


def test_what_the_endings_share_is_read_once(engine, folder, monkeypatch):
    seen, forward = [], LlamaForCausalLM.forward

    @wraps(forward)  # whose signature says what it takes
    def watched(self, tokens, *args, **kwargs):
        seen.append(tuple(tokens.shape))
        return forward(self, tokens, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", watched)
    engine.log_odds(PREFIX, ["five", "rain"], member(folder), ["Yes"], ["No"])
    opening = len(
        TOKENIZER("<s><|system|>Judge.<|end|><|user|>Is it good? The answer:", add_special_tokens=False)["input_ids"]
    )
    (first, second) = seen
    assert first[0] == 1
    assert first[1] >= opening
    assert second[0] == 2
    assert second[1] < 10


def test_log_odds_of_an_ending_without_room_fail_alone(another, plain, tmp_path):
    small = tiny_llama(tmp_path, context=64)
    yes, no = ["Yes"], ["No"]
    first, long, last = another.log_odds(PREFIX, ["five", "Yes. No. " * 30, "rain"], member(small), yes, no)
    assert isinstance(long, Failure)
    assert [first, last] == pytest.approx([full_forward(plain, e, yes, no) for e in ("five", "rain")], abs=1e-4)
    assert another.log_odds(PREFIX, [], member(small), yes, no) == []


def test_log_odds_with_a_template_of_the_members_own(engine, plain, folder):
    trimming = "{{ bos_token }}{% for m in messages %}{{ m['content'] | trim }}\n{% endfor %}Answer:"
    asked = member(folder).model_copy(update={"chat_template": trimming})
    odds = engine.log_odds(PREFIX[1:], ["five  ", "rain"], asked, ["Yes"], ["No"])
    for value, ending in zip(odds, ["five", "rain"], strict=True):
        ids = TOKENIZER(f"<s>Is it good? The answer: {ending}\nAnswer:", add_special_tokens=False)["input_ids"]
        yes, no = (TOKENIZER(word, add_special_tokens=False)["input_ids"][0] for word in ("Yes", "No"))
        assert value == pytest.approx(float(logits(plain, ids)[yes] - logits(plain, ids)[no]), abs=1e-4)


@pytest.mark.parametrize(("yes", "no"), [(["Yes"], ["Yes"]), ([], ["No"]), (["Yes"], [""])])
def test_words_that_cannot_be_told_apart_are_refused(engine, folder, yes, no):
    with pytest.raises(ErpError, match="begin with the same token, or with none"):
        engine.log_odds(PREFIX, ENDINGS, member(folder), yes, no)
