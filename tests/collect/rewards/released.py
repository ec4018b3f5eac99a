"""Base models and heads in small, written with the weight names of a released repository."""

import json

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from erp.build import build
from erp.collect.rewards.base import RewardAdapter
from erp.collect.score import adapter_node
from erp.compose import conf_folder
from tests.collect.rewards.tiny import SMALL

WIDE = SMALL["hidden_size"]
LOCAL = {"max_tokens": 256, "dtype": "float32", "device": "cpu"}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.5


def written(folder, made, head, tokenizer, **config):
    """A base model and a head's weights as a released repository has them; the base model."""
    torch.manual_seed(5)
    kinds = {"llama": (LlamaConfig, LlamaModel), "qwen2": (Qwen2Config, Qwen2Model)}
    settings, model = kinds[made]
    base = model(settings(**SMALL, vocab_size=len(tokenizer), num_key_value_heads=2)).eval()
    base.save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = {f"model.{name}": weight for name, weight in load_file(file).items()}
    save_file(weights | head, file, {"format": "pt"})
    said = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(said))
    tokenizer.save_pretrained(folder)
    return base


def last_state(base, ids):
    with torch.inference_mode():
        return base(torch.tensor([ids])).last_hidden_state[0, -1]


def shipped(stem, folder, **options):
    """A reward model as its config file has it, of the weights in a folder."""
    node = yaml.safe_load((conf_folder() / f"reward_model/{stem}.yaml").read_text())
    return build(adapter_node(node) | LOCAL | {"model": str(folder)} | options, RewardAdapter, key="reward_model")
