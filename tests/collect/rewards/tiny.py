"""Small reward models of released architectures, with tokenizers trained here: saved as a hub's folder would be."""

import sys
from contextlib import contextmanager

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from erp.collect.rewards.base import Pair

torch.set_num_threads(1)  # the models are too small for more
CORPUS = [
    "How do I bake a loaf of bread at home?",
    "Mix flour, water, salt and yeast; knead it, let it rise, bake it.",
    "At home.",
]
SPECIAL = ["<s>", "</s>", "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] | trim + '<|end|>\n' }}"
    "{% endfor %}"
)
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,  # scores far apart: what a wrong token or mask changes is seen
}
PAIRS = [
    Pair("How do I bake bread?", "Mix flour and water, let it rise, bake it."),
    Pair("How do I bake bread?", "At home."),
    Pair("How do I bake bread?", "Knead </s> it <|pad|> well.<|pad|>"),
    Pair("Salt?", "Mix salt, water, flour; " * 6),
    Pair("What is yeast? " * 5, ""),
]


def chat_tokenizer(*, bos=True, pad="<|pad|>", side="right", template=TEMPLATE):
    """A byte-level tokenizer like Llama 3's; without ``bos`` like Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    named = {"bos_token": "<s>"} if bos else {}
    if pad:
        named["pad_token"] = pad
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", padding_side=side, **named)
    wrapped.chat_template = template
    return wrapped


def pair_tokenizer():
    """A tokenizer that joins two texts as DeBERTa's does, and names no longest input."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **named)


@contextmanager
def code_kept_in(folder):
    """Python files that lie beside a model's weights are copied to, and imported from, ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
        patch.setattr("sys.path", [*sys.path])
        yield


def save(folder, network, tokenizer):
    """Written as a hub's repository is; (folder, network, tokenizer)."""
    network.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder), network, tokenizer


def llama(folder, **tokenizer):
    """A Llama with a score; its config names pad token 1, which is the end-of-sequence token (as an early GRM did)."""
    torch.manual_seed(0)
    made = chat_tokenizer(**tokenizer)
    config = LlamaConfig(**SMALL, vocab_size=len(made), num_labels=1, pad_token_id=1, num_key_value_heads=2)
    return save(folder, LlamaForSequenceClassification(config), made)


def gemma2(folder, **tokenizer):
    """A Gemma 2 with a score and a sliding window of 16 tokens."""
    torch.manual_seed(1)
    made = chat_tokenizer(**tokenizer)
    config = Gemma2Config(
        **SMALL, vocab_size=len(made), num_labels=1, num_key_value_heads=2, head_dim=8, sliding_window=16,
        pad_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    return save(folder, Gemma2ForSequenceClassification(config), made)


def deberta(folder, *, position_biased_input=False):
    """A DeBERTa v3 with one label; its positions are relative, unless they are said to count from the beginning too."""
    torch.manual_seed(2)
    made = pair_tokenizer()
    config = DebertaV2Config(
        **SMALL, vocab_size=len(made), num_labels=1, relative_attention=True, position_buckets=8,
        pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm", type_vocab_size=0,
        max_position_embeddings=64, position_biased_input=position_biased_input,
    )  # fmt: skip
    return save(folder, DebertaV2ForSequenceClassification(config), made)


def fed(adapter, pairs):
    """The scores of ``pairs``, and what the network was called with, call by call."""
    calls = []
    adapter.score([Pair("load", "load")])
    handle = adapter._network.register_forward_pre_hook(lambda _, __, inputs: calls.append(inputs), with_kwargs=True)
    scores = adapter.score(pairs)
    handle.remove()
    return scores, calls


def shown(call):
    """The token ids of each row of a call, padding left out."""
    return [ids[mask == 1].tolist() for ids, mask in zip(call["input_ids"], call["attention_mask"], strict=True)]
