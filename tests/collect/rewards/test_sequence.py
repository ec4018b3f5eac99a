"""Decoders with a score: the released architectures in small, judged by a forward pass written out here."""

import pytest
import torch

from erp.collect.rewards.base import Pair
from erp.collect.rewards.sequence import SequenceClassifier
from erp.errors import ErpError
from tests.collect.rewards.tiny import PAIRS, TEMPLATE, fed, gemma2, llama, shown


def adapter(folder, **settings):
    settings = {"max_tokens": 256, "dtype": "float32", "device": "cpu"} | settings
    return SequenceClassifier(folder, **settings)


def by_hand(network, ids):
    """Base model, score head, last token: one row, nothing padded."""
    with torch.inference_mode():
        hidden = network.model(torch.tensor([ids])).last_hidden_state
        return network.score(hidden)[0, -1].item()


def written_out(tokenizer, pair):
    """The ids of a conversation, made without the chat template's machinery."""
    text = f"<|user|>\n{pair.prompt.strip()}<|end|>\n<|assistant|>\n{pair.response.strip()}<|end|>\n"
    bos = [] if tokenizer.bos_token is None else [tokenizer.bos_token_id]
    return bos + tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def loaded(saved):
    return adapter(saved[0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("made", [llama, gemma2])
def test_scores_are_those_of_the_last_token(tmp_path, made, side):
    folder, network, tokenizer = made(tmp_path, side=side)
    scores = adapter(folder, attention="eager").score(PAIRS)
    assert scores == pytest.approx([by_hand(network, written_out(tokenizer, pair)) for pair in PAIRS], abs=1e-5)
    assert len({round(score, 4) for score in scores}) == len(PAIRS)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_networks_own_padded_batch_agrees(saved, loaded, side):
    _, network, tokenizer = saved
    rows = [written_out(tokenizer, pair) for pair in PAIRS]
    width = max(map(len, rows))
    with torch.inference_mode():
        for row, score in zip(rows, loaded.score(PAIRS), strict=True):
            fill, ones, zeros = [5] * (width - len(row)), [1] * len(row), [0] * (width - len(row))
            ids, mask = (fill + row, zeros + ones) if side == "left" else (row + fill, ones + zeros)
            hidden = network.model(torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state
            last = width - 1 if side == "left" else len(row) - 1
            assert network.score(hidden)[0, last].item() == pytest.approx(score, abs=1e-5)


def test_a_pair_scores_alike_alone_in_a_batch_and_in_another_order(loaded):
    together = loaded.score(PAIRS)
    assert [loaded.score([pair])[0] for pair in PAIRS] == pytest.approx(together, abs=1e-5)
    assert loaded.score(PAIRS[::-1])[::-1] == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("pad", [None, "</s>", "<s>"])
def test_a_tokenizer_without_a_padding_token_of_its_own(tmp_path, loaded, pad):
    folder, *_ = llama(tmp_path, pad=pad)
    assert adapter(folder).score(PAIRS) == pytest.approx(loaded.score(PAIRS), abs=1e-5)


def test_a_template_that_ends_in_the_padding_token(tmp_path):
    folder, network, tokenizer = llama(tmp_path, pad="</s>", template=TEMPLATE.replace("'<|end|>\n'", "eos_token"))
    scores, calls = fed(adapter(folder), PAIRS)
    rows = [row for call in calls for row in shown(call)]
    assert {row[-1] for row in rows} == {tokenizer.pad_token_id}
    assert sorted(scores) == pytest.approx(sorted(by_hand(network, row) for row in rows), abs=1e-5)


def test_a_vocabulary_that_a_batch_uses_up(saved, loaded):
    model = adapter(saved[0])
    model.score(PAIRS[:1])
    model._network.config.vocab_size = 1  # as if every token occurred, so that none is left to fill rows with
    scores, calls = fed(model, PAIRS)
    assert [len(call["input_ids"]) for call in calls] == [1] * len(PAIRS)
    assert scores == pytest.approx(loaded.score(PAIRS), abs=1e-5)


def test_out_of_memory_is_one_line_that_says_what_to_lower(saved, monkeypatch):
    model = adapter(saved[0])
    model.score(PAIRS[:1])

    def full(**inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(model._network, "forward", full)
    with pytest.raises(ErpError, match=r"reward_model.batch_tokens = 16384: .* out of memory on cpu; give fewer"):
        model.score(PAIRS)


def test_batches_hold_the_tokens_they_may_longest_first(saved):
    pairs = [Pair(f"{pair.prompt} {i}", pair.response) for i in range(3) for pair in PAIRS]
    pairs = [Pair(f"{i} {pair.prompt}", pair.response) for i, pair in enumerate(pairs)]  # each prompt once
    scores, calls = fed(adapter(saved[0], batch_tokens=100), pairs)
    sizes = [tuple(call["input_ids"].shape) for call in calls]
    assert all(rows * width <= 100 or rows == 1 for rows, width in sizes)
    assert max(rows for rows, _ in sizes) > 1
    assert [width for _, width in sizes] == sorted((width for _, width in sizes), reverse=True)
    assert sum(rows for rows, _ in sizes) == len(scores) == 15
    assert scores == pytest.approx(adapter(saved[0]).score(pairs), abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [120, 16384])
@pytest.mark.parametrize("made", [llama, gemma2])
def test_what_the_responses_to_a_prompt_begin_with_is_computed_once(tmp_path, made, batch_tokens):
    folder, network, tokenizer = made(tmp_path)
    model = adapter(folder, attention="sdpa" if made is llama else "eager", batch_tokens=batch_tokens)
    prompts = ["How do I bake bread with seeds and nuts in it? " * 2, "What is the best salt for bread? " * 2]
    pairs = [Pair(prompt, f"{word} " * n) for prompt in prompts for n, word in enumerate(["", "salt", "bread", "No"])]
    model.score(pairs[:1])
    read = []
    base = model._network.base_model
    handle = base.register_forward_pre_hook(
        lambda _, args, __: read.append(args[0].shape) if args else None, with_kwargs=True
    )
    scores = model.score(pairs)
    handle.remove()
    assert scores == pytest.approx([by_hand(network, written_out(tokenizer, pair)) for pair in pairs], abs=1e-5)
    tokens = sum(len(written_out(tokenizer, pair)) for pair in pairs)
    assert sum(rows * width for rows, width in read) < tokens * (0.7 if batch_tokens > tokens else 0.8)
    assert model.score(pairs[::-1]) == pytest.approx(scores[::-1], abs=1e-5)


TALK = (
    {"role": "system", "content": "Be a baker."},
    {"role": "user", "content": "How do I bake bread?"},
    {"role": "assistant", "content": "Mix flour, water, salt and yeast."},
    {"role": "user", "content": "At home?"},
)


def test_a_conversation_is_fed_turn_by_turn_and_loses_its_oldest_turns_first(saved):
    _, network, tokenizer = saved
    pair = Pair("all of it", "At home.", messages=TALK)

    def ids(turns):
        text = "".join(f"<|{turn['role']}|>\n{turn['content']}<|end|>\n" for turn in turns)
        return [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]

    answer = {"role": "assistant", "content": pair.response}
    whole, kept = ids([*TALK, answer]), ids([TALK[0], TALK[3], answer])
    model = adapter(saved[0])
    assert model.score([pair]) == pytest.approx([by_hand(network, whole)], abs=1e-5)
    assert not model.counts
    short = adapter(saved[0], max_tokens=len(whole) - 1)
    assert short.score([pair]) == pytest.approx([by_hand(network, kept)], abs=1e-5)
    assert short.counts == {"prompt_truncated": 1}
    bare = adapter(saved[0], max_tokens=len(ids([TALK[3], answer])) + 6)
    assert bare.score([pair]) == pytest.approx([by_hand(network, ids([TALK[3], answer]))], abs=1e-5)


def test_a_template_that_refuses_the_turns_is_told_in_a_line(tmp_path):
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    folder, *_ = llama(tmp_path, template=refuse + TEMPLATE)
    with pytest.raises(ErpError, match=r"refuses a conversation of the turns system, user, .*no system role"):
        adapter(folder).score([Pair("all of it", "At home.", messages=TALK)])


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE.removeprefix("{{ bos_token }}"), "{{ bos_token }}" + TEMPLATE])
def test_one_bos_is_fed_whoever_writes_it(tmp_path, template):
    folder, _, tokenizer = llama(tmp_path, template=template)
    _, calls = fed(adapter(folder), PAIRS[:2])
    assert sorted(shown(calls[0])) == sorted(written_out(tokenizer, pair) for pair in PAIRS[:2])
    for row in shown(calls[0]):
        assert row.count(tokenizer.bos_token_id) == 1
        assert row[0] == tokenizer.bos_token_id


def test_a_bos_that_only_the_template_would_write(tmp_path):
    folder, _, tokenizer = llama(tmp_path)
    tokenizer._tokenizer.post_processor = None  # as tokenizers with add_bos_token: false
    tokenizer.save_pretrained(folder)
    _, calls = fed(adapter(folder), PAIRS[:1])
    assert shown(calls[0]) == [written_out(tokenizer, PAIRS[0])]


def test_no_bos_where_the_tokenizer_has_none(tmp_path):
    folder, _, tokenizer = llama(tmp_path, bos=False, template=TEMPLATE.removeprefix("{{ bos_token }}"))
    _, calls = fed(adapter(folder), PAIRS[:1])
    assert shown(calls[0]) == [written_out(tokenizer, PAIRS[0])]
    assert tokenizer.convert_ids_to_tokens(shown(calls[0])[0][0]) == "<|user|>"


def test_todays_date_is_not_read(tmp_path):
    dated = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}" + TEMPLATE
    folder, _, tokenizer = llama(tmp_path, template=dated)
    _, calls = fed(adapter(folder), PAIRS[:1])
    assert tokenizer.decode(shown(calls[0])[0]).startswith("<s>26 Jul 2024")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("limit", [24, 40, 41, 64])
def test_the_end_of_a_long_response_is_cut_and_the_template_stays(saved, monkeypatch, limit, fast):
    tokenizer = saved[2]
    monkeypatch.setattr(type(tokenizer), "is_fast", fast)  # one that is not tells no offsets
    long = Pair("How do I bake bread?", "Mix flour, water \U0001f35e and salt; knead it well. " * 9 + "THE END")
    model = adapter(saved[0], max_tokens=limit)
    _, calls = fed(model, [long])
    (ids,) = shown(calls[0])
    assert limit - 4 <= len(ids) <= limit
    assert tokenizer.convert_ids_to_tokens(ids[-2:]) == ["<|end|>", "Ċ"]
    text = tokenizer.decode(ids)
    head, tail = text.split("<|assistant|>\n")
    assert head == "<s><|user|>\nHow do I bake bread?<|end|>\n"
    assert long.response.startswith(tail.removesuffix("<|end|>\n"))
    assert model.counts == {"truncated": 1}
    (whole,) = [written_out(tokenizer, long)]
    assert ids[:-4] == whole[: len(ids) - 4]  # nothing but the end is missing


def test_a_prompt_that_leaves_no_room_is_cut_too(saved):
    tokenizer = saved[2]
    model = adapter(saved[0], max_tokens=64)
    pairs = [Pair("bake " * 200, "Knead it, let it rise. " * 20), Pair("cake " * 200, "Salt.")]
    _, calls = fed(model, pairs)
    long, short = sorted(shown(calls[0]), key=lambda ids: "Salt" in tokenizer.decode(ids))
    assert all(60 <= len(ids) <= 64 for ids in (long, short))
    assert "<|assistant|>\nSalt.<|end|>\n" in tokenizer.decode(short)
    tail = tokenizer.decode(long).split("<|assistant|>\n")[1].removesuffix("<|end|>\n")
    assert 12 <= len(tokenizer(tail, add_special_tokens=False)["input_ids"]) <= 17  # a quarter of 64
    assert model.counts == {"truncated": 1, "prompt_truncated": 2}


def test_a_text_that_just_fits_is_whole(saved):
    length = len(written_out(saved[2], PAIRS[0]))
    model = adapter(saved[0], max_tokens=length)
    assert model.score(PAIRS[:1]) == pytest.approx(adapter(saved[0]).score(PAIRS[:1]), abs=1e-6)
    assert not model.counts


def test_a_window_the_template_fills_is_refused(saved):
    with pytest.raises(ErpError, match=r"reward_model.max_tokens = 9: the model's template takes 9 of them"):
        adapter(saved[0], max_tokens=9).score(PAIRS[:1])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_missing_and_counted(tmp_path, broken):
    folder, network, tokenizer = llama(tmp_path)
    poison = tokenizer("Salt", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        network.model.embed_tokens.weight[poison] = broken
    network.save_pretrained(folder)
    model = adapter(folder)
    good, bad = model.score([Pair("How?", "Knead it."), Pair("How?", "Salt it.")])
    assert isinstance(good, float)
    assert bad is None
    assert model.counts == {"non_finite": 1}


def test_a_lone_surrogate_reads_as_a_question_mark(loaded):
    broken, marked = loaded.score([Pair("Hm \ud83d", "so \udc00"), Pair("Hm ?", "so ?")])
    assert broken == pytest.approx(marked, abs=1e-6)


def test_no_pairs_no_scores(loaded):
    assert loaded.score([]) == []


def test_weights_are_found_by_name_under_weights_dir(saved, tmp_path):
    (tmp_path / "small-reward").symlink_to(saved[0])
    model = adapter("somebody/small-reward")
    model.look_in(str(tmp_path))
    assert model.score(PAIRS) == pytest.approx(adapter(saved[0]).score(PAIRS))
    assert model.about() == {
        "model": "somebody/small-reward",
        "revision": None,
        "dtype": "float32",
        "attention": "sdpa",
        "max_tokens": 256,
        "device": "cpu",
    }


def test_bfloat16_is_near_and_sharded_weights_load(saved, loaded, tmp_path):
    saved[1].save_pretrained(tmp_path, max_shard_size="40KB")
    saved[2].save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert adapter(str(tmp_path), dtype="bfloat16").score(PAIRS) == pytest.approx(loaded.score(PAIRS), abs=0.05)


def test_dropout_is_off(tmp_path):
    folder, network, _ = llama(tmp_path)
    network.config.attention_dropout = 0.9
    network.save_pretrained(folder)
    model = adapter(folder)
    assert model.score(PAIRS) == model.score(PAIRS)


def test_a_language_model_without_a_score_is_refused(saved, tmp_path):
    from transformers import LlamaForCausalLM

    LlamaForCausalLM(saved[1].config).save_pretrained(tmp_path)
    saved[2].save_pretrained(tmp_path)
    with pytest.raises(ErpError, match=r"has no weights for score.weight; give a model that was trained to score"):
        adapter(str(tmp_path)).score(PAIRS)


def test_a_classifier_of_several_labels_is_refused(saved, tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    several = LlamaConfig(**saved[1].config.to_dict() | {"num_labels": 3})
    LlamaForSequenceClassification(several).save_pretrained(tmp_path)
    saved[2].save_pretrained(tmp_path)
    with pytest.raises(ErpError, match="cannot be loaded"):
        adapter(str(tmp_path)).score(PAIRS)


@pytest.mark.parametrize("released_before", [False, True])
def test_sdpa_is_refused_where_it_would_leave_out_soft_capping(tmp_path, monkeypatch, released_before):
    folder, *_ = gemma2(tmp_path)
    if released_before:  # transformers once let it pass
        monkeypatch.setattr("transformers.Gemma2PreTrainedModel._supports_sdpa", True)
    with pytest.raises(ErpError, match="sdpa: leaves out the soft-capping" if released_before else "sdpa"):
        adapter(folder, attention="sdpa").score(PAIRS)


@pytest.mark.parametrize("settings", [{"attention": "flash_attention_2"}, {"device": "auto"}, {"device": "cuda:7"}])
def test_what_is_not_installed_is_one_line(saved, settings):
    with pytest.raises(ErpError, match="reward_model") as caught:
        adapter(saved[0], **settings).score(PAIRS)
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_and_a_tokenizer_without_a_template(saved, tmp_path):
    saved[1].config.save_pretrained(tmp_path)
    saved[2].save_pretrained(tmp_path)
    with pytest.raises(ErpError, match=r"cannot be loaded from .* put all of its files there"):
        adapter(str(tmp_path)).score(PAIRS)
    saved[1].save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ErpError, match="has no chat template"):
        adapter(str(tmp_path)).score(PAIRS)


@pytest.mark.parametrize("key", ["max_tokens", "batch_tokens"])
def test_sizes_are_positive(key):
    with pytest.raises(ErpError, match=rf"reward_model.{key} = 0: give 1 or more"):
        adapter("anything", **{key: 0})
