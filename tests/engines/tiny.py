"""A causal LM small enough for a test, with a real tokenizer: random weights, byte-level BPE, a chat template."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TURNS = "{% for turn in messages %}<|{{ turn['role'] }}|>{{ turn['content'] }}<|end|>{% endfor %}"
OPENING = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TEMPLATE = "{{ bos_token }}" + TURNS + OPENING
WITHOUT_BOS = TURNS + OPENING
MARKS = ["<pad>", "<s>", "</s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "Is the capital of France Paris? Yes, it is. No, it is not.",
    "Write a short poem about the sea, the wind and the rain.",
    "What is the sum of two and three? The answer is five.",
    "Yes yes yes. No no no. Good answers are short answers.",
] * 4


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=320, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False),
    )
    # as Llama's: text that is tokenised plainly gets a <s> in front
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer.to_str()


def tiny_tokenizer(chat_template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE: <s> first, </s> ends a text, <|end|> a turn; <pad> is there."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_llama(
    folder: Path, *, seed: int = 0, context: int = 256, chat_template: str | None = TEMPLATE, **generation: object
) -> Path:
    """Write a two-layer Llama and its tokenizer to a folder, as a release lies there.

    Args:
        folder: where to.
        seed: of the weights.
        context: positions the model has.
        chat_template: of the tokenizer; None for a base model.
        generation: keys of generation_config.json; ``eos_token_id`` is ``[</s>, <|end|>]`` unless given.
    """
    tokenizer = tiny_tokenizer(chat_template)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,  # larger than usual: next tokens then differ clearly in probability
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**{"bos_token_id": 1, "eos_token_id": [2, 3], **generation})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
