"""Eurus-RM: the released layout in small, judged by a forward pass written out here."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForSequenceClassification

from erp.collect.rewards.eurus import EurusReward
from tests.collect.rewards.tiny import PAIRS, SMALL, chat_tokenizer


def test_scores_are_those_of_the_head_under_its_released_name(tmp_path):
    torch.manual_seed(3)
    tokenizer = chat_tokenizer(template=None)  # none is needed
    config = MistralConfig(**SMALL, vocab_size=len(tokenizer), num_labels=1, num_key_value_heads=2)
    network = MistralForSequenceClassification(config).eval()
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(
        {name.replace("score.", "regression_head."): w for name, w in load_file(file).items()}, file, {"format": "pt"}
    )
    scores = EurusReward(str(tmp_path), max_tokens=256, dtype="float32", device="cpu").score(PAIRS)
    for pair, score in zip(PAIRS, scores, strict=True):
        text = f"[INST] {pair.prompt} [/INST] {pair.response}"
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.inference_mode():
            by_hand = network.score.weight[0] @ network.model(torch.tensor([ids])).last_hidden_state[0, -1]
        assert score == pytest.approx(by_hand.item(), abs=1e-5)
