"""Sentence encoders of released architectures, with random weights and a few dimensions, as a release lies on disk."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)

from tests.engines.tiny import tiny_tokenizer

WIDTH, LAYERS, HEADS, ROOM = 32, 2, 4, 256
LETTERS = [chr(c) for c in range(32, 127) if chr(c) != " "]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 64}
# larger than usual: vectors of unlike texts then differ clearly
SHARP = {"initializer_range": 0.5}


def _letters() -> PreTrainedTokenizerFast:
    """[CLS], a token for every letter, [SEP]: what BERT's tokenizers do, in small."""
    pieces = SPECIAL + LETTERS + [f"##{letter}" for letter in LETTERS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def _model(architecture: str, vocabulary: int) -> torch.nn.Module:
    room = {"vocab_size": vocabulary, "max_position_embeddings": ROOM}
    if architecture == "mpnet":
        return MPNetModel(MPNetConfig(**SIZES, **SHARP, **room, pad_token_id=0))
    if architecture == "modernbert":
        tokens = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        sharp = {"initializer_range": 0.5, "initializer_cutoff_factor": 2.0}
        return ModernBertModel(ModernBertConfig(**SIZES, **sharp, **room, **tokens))
    if architecture == "qwen3":
        return Qwen3Model(Qwen3Config(**SIZES, **SHARP, **room, num_key_value_heads=2, head_dim=8))
    if architecture == "deberta":
        v3 = {"relative_attention": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}
        biased = {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}
        return DebertaV2Model(DebertaV2Config(**SIZES, **SHARP, **room, **v3, **biased))
    return BertModel(BertConfig(**SIZES, **SHARP, **room))


def tiny_encoder(folder: Path, architecture: str, pooling: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write an encoder with its tokenizer and pooling; ``pooling`` is cls, mean or lasttoken, then length one."""
    from sentence_transformers import SentenceTransformer  # takes seconds: not while tests are collected
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    tokenizer = tiny_tokenizer() if architecture == "qwen3" else _letters()
    plain = folder.parent / f"{folder.name}-plain"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _model(architecture, len(tokenizer)).to(dtype).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    body = Transformer(str(plain), max_seq_length=ROOM)
    SentenceTransformer(modules=[body, Pooling(WIDTH, pooling_mode=pooling), Normalize()], device="cpu").save(
        str(folder), create_model_card=False
    )
    # The releases are older than sentence-transformers 6, which notes here that a chat template is to be used, if any.
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": ROOM, "do_lower_case": False}))
    return folder
