"""Hidden states of a causal LM that transformers loads: against a forward pass by hand, whatever shares the batch."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from erp.backbones.base import FittedBackbone, Weighted, build_backbone
from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.causal_lm_states import pooled
from erp.backbones.llm_hidden import LLMHiddenBackbone
from erp.compose import conf_folder
from erp.errors import ErpError
from tests.engines.tiny import tiny_llama, tiny_tokenizer

NODE = yaml.safe_load((conf_folder() / "backbone" / "llm_hidden.yaml").read_text())
PROMPTS = ["Is the capital of France Paris?", "sea", "Write a short poem about the sea, the wind and the rain.", "No."]
LAYERS, WIDTH = 2, 32


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("weights") / "TinyLlama")


@pytest.fixture(scope="module")
def by_hand(released):
    """Hidden states of all layers of a text, its tokens read alone: (layers + 1, tokens, d)."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(released).eval(), AutoTokenizer.from_pretrained(released)

    def states(text, special=True):
        ids = torch.tensor([tokenizer(text, add_special_tokens=special)["input_ids"]])
        with torch.no_grad():
            return torch.stack(model(ids, output_hidden_states=True).hidden_states)[:, 0].numpy()

    return states


def backbone(folder, **changes):
    return LLMHiddenBackbone(str(folder), **{"max_tokens": 128, **changes})


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize(("layer", "row"), [(-1, 2), (2, 2), (1, 1), (-2, 1), (0, 0), (0.5, 1), (1.0, 2), (0.01, 1)])
def test_vectors_are_a_forward_pass_by_hand(released, by_hand, layer, row, pooling):
    vectors = backbone(released, layer=layer, pooling=pooling, batch_size=3).embed(PROMPTS)
    assert vectors.shape == (len(PROMPTS), WIDTH)
    assert vectors.dtype == np.float32
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        states = by_hand(prompt)[row]
        assert vector == pytest.approx(states.mean(0) if pooling == "mean" else states[-1], abs=1e-5)


def test_the_last_layer_is_what_the_head_reads(released):
    """Logits of the head on the last token's vector are the model's own."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(released).eval(), AutoTokenizer.from_pretrained(released)
    vector = torch.from_numpy(backbone(released, pooling="last").embed(PROMPTS[:1]))
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])).logits[0, -1]
        assert torch.allclose(model.lm_head(vector)[0], logits, atol=1e-4)


@pytest.mark.parametrize("template", [None, "chat"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_batch_gives_what_each_prompt_gives_alone(released, pooling, template):
    prompts = [*PROMPTS, "", "Yes yes yes."]
    one = backbone(released, pooling=pooling, template=template, batch_size=1).embed(prompts)
    all_ = backbone(released, pooling=pooling, template=template, batch_size=16).embed(prompts)
    assert all_ == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizer_s_padding_side_changes_nothing(released, tmp_path, side):
    folder = shutil.copytree(released, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": side}))
    assert AutoTokenizer.from_pretrained(folder).padding_side == side
    assert np.array_equal(backbone(folder).embed(PROMPTS), backbone(released).embed(PROMPTS))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_pooling_is_the_same_with_padding_on_either_side(pooling):
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 0.0], [7.0, 4.0]]])
    nothing = torch.full((2, 3, 2), torch.nan)  # padding may hold anything
    left, right = torch.cat([nothing, tokens], dim=1), torch.cat([tokens, nothing], dim=1)
    mask = torch.tensor([[0, 0, 0, 1, 1]] * 2)
    expected = torch.tensor([[2.0, 4.0], [6.0, 2.0]] if pooling == "mean" else [[3.0, 6.0], [7.0, 4.0]])
    assert torch.equal(pooled(left, mask, pooling), expected)
    assert torch.equal(pooled(right, mask.flip(1), pooling), expected)


def test_positions_that_are_learnt_are_not_moved_by_padding(tmp_path):
    folder = tmp_path / "gpt2"
    tokenizer = tiny_tokenizer(None)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.5
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = backbone(folder, max_tokens=60)
    assert model.embed(PROMPTS) == pytest.approx(np.vstack([model.embed([p]) for p in PROMPTS]), abs=1e-5)


def test_the_chat_template_is_put_around_the_prompt_and_the_answer_opened(released, by_hand):
    vectors = backbone(released, template="chat", pooling="last").embed(["Is it so?"])
    expected = by_hand("<s><|user|>Is it so?<|end|><|assistant|>", special=False)[-1]
    assert vectors[0] == pytest.approx(expected[-1], abs=1e-5)


def test_a_long_prompt_loses_its_end_and_the_template_stays(released):
    tokenizer = AutoTokenizer.from_pretrained(released)
    long = PROMPTS[2] * 3
    start = tokenizer.decode(tokenizer(long, add_special_tokens=False)["input_ids"][:7])
    assert long.startswith(start)
    for template in (None, "chat"):
        cut, short = backbone(released, max_tokens=7, template=template).embed([long, start])
        assert cut == pytest.approx(short, abs=1e-5)
    emoji = backbone(released, max_tokens=5).embed(["abc 🙂", "abc "])  # the fifth token is half of the emoji
    assert emoji[0] == pytest.approx(emoji[1], abs=1e-5)


def test_odd_prompts(released, tmp_path):
    broken, marked = backbone(released).embed(["half an emoji \ud83d here", "half an emoji ? here"])
    assert broken == pytest.approx(marked, abs=1e-6)
    assert backbone(released).embed([]).shape == (0, WIDTH)
    assert np.isfinite(backbone(released).embed(["", "\n\n"])).all()
    folder = tmp_path / "no-bos"
    shutil.copytree(released, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    empty, word = backbone(folder).embed(["", "word"])  # a prompt of no token
    assert not empty.any()
    assert word.any()


@pytest.mark.parametrize("layer", [3, -3, 40])
def test_a_layer_that_the_model_does_not_have_is_refused_with_those_it_has(released, layer):
    with pytest.raises(ErpError) as refused:
        backbone(released, layer=layer).embed(["a"])
    (fault,) = refused.value.faults
    assert fault.startswith(f"backbone.layer = {layer}: {released} has 2 layers; give -2 to 2")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"layer": 0.0}, r"backbone\.layer = 0\.0: give a fraction"),
        ({"layer": 1.5}, r"backbone\.layer = 1\.5"),
        ({"layer": float("nan")}, r"backbone\.layer = nan"),
        ({"layer": "middle"}, r"backbone\.layer"),
        ({"pooling": "max"}, r"backbone\.pooling = max"),
        ({"template": "llama"}, r"backbone\.template = llama"),
        ({"dtype": "int8"}, r"backbone\.dtype = int8"),
        ({"max_tokens": 0}, r"backbone\.max_tokens = 0: give 1 or more"),
        ({"batch_size": 0}, r"backbone\.batch_size = 0: give 1 or more"),
        ({"file": "x.gguf", "layer": 3}, r"backbone\.layer = 3: llama\.cpp gives the last layer"),
        ({"file": "X.GGUF", "layer": 1.0}, r"backbone\.layer = 1\.0: llama\.cpp"),
        ({"file": "x.gguf", "dtype": "float16"}, r"backbone\.dtype = float16: a GGUF file has a type of its own"),
    ],
)
def test_bad_settings_are_refused_by_name_before_anything_is_loaded(changes, fault):
    with pytest.raises(ErpError, match=fault):
        build_backbone({**NODE, **changes}, None)


def test_what_only_the_model_can_tell_is_refused_when_it_is_loaded(released, tmp_path, monkeypatch):
    with pytest.raises(ErpError, match=r"backbone\.max_tokens = 300: .* has room for 256"):
        backbone(released, max_tokens=300).embed(["a"])
    base = tiny_llama(tmp_path / "base", chat_template=None)
    with pytest.raises(ErpError, match=r"backbone\.template = chat: .* has no chat template"):
        backbone(base, template="chat", max_tokens=64).embed(["a"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ErpError, match=r"backbone\.device = cuda: PyTorch sees no CUDA device"):
        backbone(released, device="cuda").embed(["a"])


@pytest.mark.parametrize("fault", ["half a file", "no tokenizer", "another model"])
def test_a_model_that_cannot_be_loaded_is_named(released, tmp_path, fault):
    folder = shutil.copytree(released, tmp_path / "model")
    if fault == "half a file":
        (folder / "model.safetensors").write_bytes(b"abc")
    elif fault == "no tokenizer":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ErpError, match=f"{folder}: cannot be loaded as a causal LM"):
        backbone(folder).embed(["a"])


def test_the_fingerprint_names_weights_and_settings_and_not_where_or_how_fast(released, tmp_path):
    sha256 = hashlib.sha256((released / "model.safetensors").read_bytes()).hexdigest()
    changes = [{}, {"layer": 1}, {"layer": 1.0}, {"pooling": "last"}, {"template": "chat"}, {"max_tokens": 9},
               {"dtype": "bfloat16"}, {"sha256": "0" * 64}]  # fmt: skip
    prints = [backbone(released, **change).fingerprint() for change in changes]
    assert len(set(prints)) == len(changes)
    copy = shutil.copytree(released, tmp_path / "elsewhere")
    same = [backbone(copy), backbone(released, batch_size=1, device="cpu", active_parameters=1e6, sha256=sha256)]
    assert {one.fingerprint() for one in same} == {prints[0]}
    tiny_llama(tmp_path / "other", seed=1)
    assert backbone(tmp_path / "other").fingerprint() != prints[0]


def test_a_commit_of_the_hub_stands_for_its_weights(tmp_path):
    """Nothing has to be there to look embeddings up by it; and a snapshot in the hub's cache has the same name."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    pinned = LLMHiddenBackbone("nobody/no-such-model", revision=commit).fingerprint()
    assert f"nobody/no-such-model@{commit}" in pinned
    other = LLMHiddenBackbone("nobody/no-such-model", revision=commit[::-1]).fingerprint()
    assert other != pinned
    snapshot = tmp_path / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert f"@{commit}" in LLMHiddenBackbone(str(snapshot)).fingerprint()


def test_weights_are_looked_for_in_weights_dir_and_checked(released):
    sha256 = hashlib.sha256((released / "model.safetensors").read_bytes()).hexdigest()
    node = {**NODE, "model": "nobody/TinyLlama", "max_tokens": 64}
    found = build_backbone({**node, "sha256": sha256}, str(released.parent))
    assert isinstance(found, Weighted)
    assert not isinstance(found, FittedBackbone)
    assert found.embed(PROMPTS) == pytest.approx(backbone(released).embed(PROMPTS), abs=1e-6)
    with pytest.raises(ErpError, match="has sha256"):
        build_backbone({**node, "sha256": "0" * 64}, str(released.parent)).embed(["a"])


def test_a_model_that_is_nowhere_is_named(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for embedded in (NODE, {**NODE, "file": "x.gguf", "model": "nobody/none"}):
        with pytest.raises(ErpError, match=f"weights_dir = {tmp_path}: .* is not there"):
            build_backbone(embedded, str(tmp_path)).embed(["a"])


def test_through_the_cache(released, tmp_path):
    rows = cached_embeddings(PROMPTS, backbone(released), tmp_path, progress=False)
    direct = embed_prompts(PROMPTS, backbone(released))
    assert rows.take(np.arange(len(PROMPTS))) == pytest.approx(direct, abs=1e-6)
    assert np.linalg.norm(direct, axis=1) == pytest.approx(np.ones(len(PROMPTS)), abs=1e-6)


def test_sixteen_bits_are_near_and_pooled_in_32(released):
    near = backbone(released, dtype="bfloat16").embed(PROMPTS)
    assert near.dtype == np.float32
    exact = backbone(released).embed(PROMPTS)
    assert not np.array_equal(near, exact)
    assert np.abs(near - exact).max() < 0.2 * np.abs(exact).max()
