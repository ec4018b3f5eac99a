"""Every released encoder's option file, over a tiny model of the same architecture: what is read, pooled and cut."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from erp.backbones.base import build_backbone
from erp.backbones.cache import embed_prompts
from erp.backbones.sentence_transformer import SentenceTransformerBackbone
from erp.compose import compose, conf_folder, options
from erp.errors import ErpError
from erp.files import sha256_file
from tests.backbones.tiny_encoders import ROOM, WIDTH, tiny_encoder

# option -> architecture, and how the release pools (its 1_Pooling folder)
RELEASED = {
    "minilm": ("bert", "mean"),
    "mpnet": ("mpnet", "mean"),
    "bge_small": ("bert", "cls"),
    "bge_base": ("bert", "cls"),
    "e5_base": ("bert", "mean"),
    "gte_base": ("bert", "mean"),
    "modernbert_embed": ("modernbert", "mean"),
    "qwen3_embedding": ("qwen3", "lasttoken"),
    "mdeberta": ("deberta", "cls"),
}
PLAIN = {"mdeberta"}  # released without sentence-transformers' files
PROMPTS = ["Is it?", "Write a poem about the sea.", "a", "Sum 1 and 2, please", ""]


def option(name):
    return yaml.safe_load((conf_folder() / "backbone" / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("encoders")
    kinds = sorted(set(RELEASED.values()))
    made = {kind: tiny_encoder(base / "-".join(kind), *kind) for kind in kinds}
    return {name: made[kind].with_name(made[kind].name + "-plain" * (name in PLAIN)) for name, kind in RELEASED.items()}


def tiny(name, folders, **changes):
    node = compose("train", [f"backbone={name}"])["backbone"]
    there = {"model": str(folders[name]), "sha256": None, "package": None, "max_tokens": ROOM}
    there["file"] = "model.safetensors"
    return build_backbone({**node, **there, **changes}, None)


def by_hand(folder, text, pooling):
    """One text through the plain model: its states, pooled, at length one."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ids = torch.tensor([tokenizer(text)["input_ids"][:ROOM]])
        states = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
    vector = {"cls": states[0], "mean": states.mean(0), "lasttoken": states[-1]}[pooling]
    return (vector / vector.norm()).numpy()


def test_every_sentence_encoder_has_a_judge_here():
    encoders = {
        name
        for name in options("backbone")
        if option(name)["_target_"].endswith(f".{SentenceTransformerBackbone.__name__}")
    }
    assert encoders == set(RELEASED)


@pytest.mark.parametrize("name", RELEASED)
def test_vectors_are_a_forward_pass_by_hand_with_the_prefix_before(name, folders):
    _, pooling = RELEASED[name]
    backbone = tiny(name, folders)
    vectors = embed_prompts(PROMPTS, backbone)
    assert vectors.shape == (len(PROMPTS), WIDTH)
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        expected = by_hand(folders[name], backbone.prefix + prompt, pooling)
        assert vector == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", RELEASED)
def test_a_prompt_is_embedded_alike_alone_and_in_a_batch(name, folders):
    backbone = tiny(name, folders)
    together = backbone.embed(PROMPTS)
    alone = np.vstack([backbone.embed([prompt]) for prompt in PROMPTS])
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("name", sorted(set(RELEASED) - {"minilm", "mpnet"}))
def test_an_option_says_what_it_costs_and_where_a_prompt_is_cut(name):
    node = option(name)
    assert node["active_parameters"] > 1e6
    assert node["max_tokens"] >= 512
    assert ("revision" in node) == ("sha256" in node)  # pinned whole, or not at all
    assert build_backbone(node, None).weights.model == node["model"]


def test_prefixes_are_those_of_the_cards():
    # Card of each model; bge's v1.5 and gte need none
    prefixes = {name: option(name).get("prefix", "") for name in RELEASED}
    assert {name: prefix for name, prefix in prefixes.items() if prefix} == {
        "e5_base": "query: ",
        "modernbert_embed": "search_query: ",
        "qwen3_embedding": "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
        "Query:",
    }


def test_the_first_token_s_state_is_read_where_it_is_asked_for(folders):
    released, mean = tiny("mdeberta", folders), tiny("mdeberta", folders, pooling=None)
    assert embed_prompts(PROMPTS, mean)[1] == pytest.approx(by_hand(folders["mdeberta"], PROMPTS[1], "mean"), abs=1e-5)
    assert released.fingerprint() != mean.fingerprint()


def test_a_release_older_than_safetensors_is_read(folders, tmp_path):
    old = shutil.copytree(folders["mdeberta"], tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(AutoModel.from_pretrained(folders["mdeberta"]).state_dict(), old / "pytorch_model.bin")
    backbone = tiny("mdeberta", folders, model=str(old), file="pytorch_model.bin")
    np.testing.assert_array_equal(backbone.embed(PROMPTS), tiny("mdeberta", folders).embed(PROMPTS))
    assert sha256_file(old / "pytorch_model.bin") in backbone.fingerprint()


def test_a_tokenizer_that_needs_sentencepiece_says_so(folders, tmp_path, monkeypatch):
    other = shutil.copytree(folders["mdeberta"], tmp_path / "spm")
    (other / "tokenizer.json").rename(other / "spm.model")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ErpError, match=r"needs the package sentencepiece; pip install 'erp\[mdeberta\]'"):
        tiny("mdeberta", folders, model=str(other)).embed(PROMPTS)


def test_a_model_stored_in_16_bits_is_computed_in_32(tmp_path):
    folder = tiny_encoder(tmp_path / "half", "bert", "mean", torch.float16)
    assert next(AutoModel.from_pretrained(folder).parameters()).dtype == torch.float16
    backbone = SentenceTransformerBackbone(str(folder))
    vectors = backbone.embed(PROMPTS)
    alone = np.vstack([backbone.embed([prompt]) for prompt in PROMPTS])
    assert vectors == pytest.approx(alone, abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(PROMPTS)), abs=1e-6)  # 16 bits miss it by 1e-4
    assert embed_prompts(PROMPTS, backbone).dtype == np.float32
