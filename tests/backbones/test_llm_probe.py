"""What a causal LM makes of a prompt, against forward passes by hand; and how its blocks come of it."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.decomposition import PCA
from transformers import AutoModelForCausalLM, AutoTokenizer

from erp.backbones.base import FittedBackbone, build_backbone, normalised
from erp.backbones.cache import cached_embeddings
from erp.backbones.causal_lm_probe import QUESTION, CausalLMProbe
from erp.backbones.fitted import block_widths, fit_once
from erp.backbones.joined import JoinedBackbone
from erp.backbones.llm_hidden import LLMHiddenBackbone
from erp.backbones.llm_probe import BLOCKS, LLMProbeBackbone
from erp.backbones.surface import SurfaceBackbone
from erp.compose import conf_folder
from erp.config import Cost
from erp.errors import ErpError
from erp.evaluation.economics import router_cost
from erp.routers.base import Batch, Features
from erp.routers.block_ridge import BlockRidge
from erp.table.schema import RewardTable
from erp.values import estimated_tokens
from tests.engines.tiny import tiny_llama

PROMPTS = ["Is the capital of France Paris?", "sea", "Write a short poem about the sea, the wind and the rain.", "No."]
TRAIN = [*PROMPTS, *(f"What is the sum of {n} and {m}?" for n in range(5) for m in ("two", "the sea and the rain"))]
LAYERS, WIDTH = 3, 32  # the embeddings are a layer


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("weights") / "TinyLlama")


@pytest.fixture(scope="module")
def by_hand(released):
    """Ids, logits (tokens, vocabulary) and states (layers, tokens, d) of a conversation that is read alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(released).eval(), AutoTokenizer.from_pretrained(released)

    def run(prompt):
        ids = tokenizer(f"<s><|user|>{prompt}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            output = model(torch.tensor([ids]), output_hidden_states=True)
        return ids, output.logits[0].double(), torch.stack(output.hidden_states)[:, 0].numpy()

    run.tokenizer = tokenizer
    return run


def probe(folder, **changes):
    return LLMProbeBackbone(str(folder), **{"max_tokens": 128, "components": 4, **changes})


def fitted(folder, **changes):
    backbone = probe(folder, **changes)
    backbone.fit(TRAIN)
    return backbone


@pytest.mark.parametrize("batch_size", [1, 3])
def test_readings_are_a_forward_pass_by_hand(released, by_hand, batch_size):
    states, numbers = probe(released, batch_size=batch_size).readings(PROMPTS)
    assert states.shape == (len(PROMPTS), LAYERS, WIDTH)
    for row, prompt in enumerate(PROMPTS):
        ids, logits, hidden = by_hand(prompt)
        assert states[row] == pytest.approx(hidden.mean(axis=1), abs=1e-4)
        of_prompt = range(2, len(ids) - 2)  # <s><|user|> before it, <|end|><|assistant|> behind
        nll = [-float(torch.log_softmax(logits[at - 1], 0)[ids[at]]) for at in of_prompt]
        assert numbers["likelihood"][row] == pytest.approx([np.mean(nll), np.log1p(np.sum(nll))], abs=1e-4)
        p = torch.softmax(logits[-1], 0).numpy()
        told = [-(p * np.log(p)).sum(), p.max(), np.sort(p)[-10:].sum()]
        assert numbers["first_token"][row] == pytest.approx(told, abs=1e-4)
        answer = torch.softmax(by_hand(prompt + QUESTION)[1][-1], 0)
        yes, no = ({by_hand.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in side}
                   for side in (("Yes", "yes"), ("No", "no")))  # fmt: skip
        odds = np.log(sum(float(answer[t]) for t in yes) / sum(float(answer[t]) for t in no))
        assert numbers["knows"][row] == pytest.approx([odds], abs=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizer_s_padding_side_changes_nothing(released, tmp_path, side):
    folder = shutil.copytree(released, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": side}))
    assert AutoTokenizer.from_pretrained(folder).padding_side == side
    padded, alone = probe(folder, batch_size=4).readings(PROMPTS), probe(released, batch_size=1).readings(PROMPTS)
    assert padded[0] == pytest.approx(alone[0], abs=1e-4)
    for name, block in alone[1].items():
        assert padded[1][name] == pytest.approx(block, abs=1e-4)


def test_a_prompt_of_no_token_has_no_likelihood(released):
    states, numbers = probe(released).readings([""])
    assert np.isfinite(states).all()
    assert numbers["likelihood"].tolist() == [[0, 0]]
    backbone = fitted(released)
    assert backbone.embed([]).shape == (0, sum(backbone.blocks().values()))


def test_pieces_of_a_long_prompt_add_up(released):
    one = probe(released, max_tokens=8, long="mean")
    ids = AutoTokenizer.from_pretrained(released)(PROMPTS[2], add_special_tokens=False)["input_ids"]
    _, numbers = one.readings([PROMPTS[2]])
    mean, log_total = numbers["likelihood"][0]
    assert np.expm1(log_total) == pytest.approx(mean * len(ids), rel=1e-4)
    assert one.unread([PROMPTS[2]]).tolist() == [0]
    assert probe(released, max_tokens=8).unread([PROMPTS[2], "sea"]).tolist()[0] == len(ids) - 8


def test_blocks_are_components_and_standard_scores_of_the_readings(released):
    backbone = fitted(released)
    vectors, (states, numbers) = backbone.embed(TRAIN), backbone.readings(TRAIN)
    widths = backbone.blocks()
    assert list(widths) == list(BLOCKS)
    assert sum(widths.values()) == vectors.shape[1]
    assert (vectors[:, -1] == 1).all()  # the constant
    parts = dict(zip(widths, np.split(vectors[:, :-1], np.cumsum(list(widths.values()))[:-1], axis=1), strict=True))
    for layer in range(LAYERS):
        expected = PCA(4, svd_solver="full").fit_transform(states[:, layer].astype(np.float64))
        found = parts["states"][:, 4 * layer : 4 * layer + 4]
        assert found.var(axis=0).sum() == pytest.approx(1 / LAYERS / 4, rel=1e-3)  # of L layers, of 4 blocks
        scale = np.sqrt(found.var(axis=0).sum() / expected.var(axis=0).sum())
        assert np.abs(found) == pytest.approx(np.abs(expected) * scale, abs=1e-3)
    for name in ("likelihood", "first_token", "knows"):
        values = numbers[name].astype(np.float64)
        scores = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -5, 5)
        assert parts[name] == pytest.approx(scores / np.sqrt(4 * scores.shape[1]), abs=1e-3)


@pytest.mark.parametrize("left", [["states"], ["knows"], ["likelihood", "first_token"], ["knows", "states"]])
def test_blocks_can_be_left_out(released, left):
    backbone = fitted(released, blocks=left)
    assert list(backbone.blocks()) == [name for name in BLOCKS if name in left]
    assert backbone.embed(PROMPTS).shape == (len(PROMPTS), sum(backbone.blocks().values()))


def test_layers_apart_are_blocks_of_the_same_vectors_of_which_a_router_finds_the_one_that_tells(released, tmp_path):
    whole, apart = fitted(released), fitted(released, layers="apart")
    assert np.array_equal(whole.embed(PROMPTS), apart.embed(PROMPTS))
    assert whole.fingerprint() == apart.fingerprint()
    widths = apart.blocks()
    assert widths == {"layer 0": 4, "layer 1": 4, "layer 2": 4, "likelihood": 2, "first_token": 3, "knows": 2}
    assert fitted(released, layers="apart", blocks=["states"]).blocks() == {"layer 0": 4, "layer 1": 4, "layer 2": 5}

    joined = [JoinedBackbone(parts=[one, SurfaceBackbone()]) for one in (whole, apart)]
    for one in (whole, apart, *joined):  # in one cache
        assert block_widths(one, tmp_path) == block_widths(one, tmp_path) == one.blocks()

    rng = np.random.default_rng(0)
    vectors = np.hstack([rng.standard_normal((900, 18)), np.ones((900, 1))])
    rewards = vectors[:, 4:8] @ rng.standard_normal((4, 3)) + 0.5 * rng.standard_normal((900, 3))
    embedding, nothing = torch.from_numpy(vectors.astype(np.float32)), torch.full((900, 3), torch.nan)
    batch = Batch(
        Features(embedding, torch.full((900,), -1)), torch.from_numpy(rewards), torch.ones(900, 3).long(), nothing,
        None, torch.zeros(900, 3), torch.arange(900), torch.arange(900),
    )  # fmt: skip
    router = BlockRidge()
    router.divide(widths)
    router.fit([batch.take(torch.arange(600))], [batch.take(torch.arange(600, 900))])
    assert router.chosen()["penalty of layer 1"] != "left out"
    weights = router.weight.numpy()
    assert np.abs(np.delete(weights, range(4, 8), axis=0)).max() < 0.1 * np.abs(weights[4:8]).max()


def test_a_saved_state_gives_the_same_and_another_one_is_refused(released):
    first, second = fitted(released), probe(released)
    assert isinstance(first, FittedBackbone)
    second.restore(first.state())
    assert np.array_equal(first.embed(PROMPTS), second.embed(PROMPTS))
    assert first.fingerprint() == second.fingerprint()
    backwards = probe(released)
    backwards.fit(TRAIN[::-1])
    assert backwards.fingerprint() == first.fingerprint()
    with pytest.raises(ErpError, match="not of this backbone"):
        probe(released).restore({"terms": []})
    with pytest.raises(ErpError, match=r"backbone\.blocks: are not those"):
        probe(released, blocks=["knows"]).restore(first.state())
    with pytest.raises(ErpError, match="has not seen the train prompts"):
        probe(released).embed(PROMPTS)


def test_a_prompt_is_read_once_whatever_the_split_and_the_components(released, tmp_path, monkeypatch):
    read = []
    for name in ("embed", "knows"):
        real = getattr(CausalLMProbe, name)

        def counted(self, texts, real=real, name=name):
            read.extend((name, text) for text in texts)
            return real(self, texts)

        monkeypatch.setattr(CausalLMProbe, name, counted)
    kept = []
    for changes, train in [
        ({}, TRAIN),
        ({}, TRAIN[:8]),
        ({"components": 2}, TRAIN[4:]),
        ({"blocks": ["states"]}, TRAIN),
    ]:
        backbone = JoinedBackbone([probe(released, **changes), SurfaceBackbone()])
        fit_once(backbone, train, tmp_path)
        vectors = cached_embeddings(TRAIN, backbone, tmp_path, progress=False).take(np.arange(len(TRAIN)))
        kept.append((changes, backbone.state(), vectors))
    assert sorted(read) == sorted((name, text) for text in TRAIN for name in ("embed", "knows"))
    for changes, state, vectors in kept:
        alone = JoinedBackbone([probe(released, **changes), SurfaceBackbone()])
        alone.restore(state)
        assert vectors * np.sqrt(2) == pytest.approx(alone.embed(TRAIN), abs=1e-4)


@pytest.mark.parametrize(("blocks", "passes"), [(None, 2), (["states", "likelihood"], 1), (["knows"], 1)])
def test_each_pass_counts_in_the_router_s_cost(blocks, passes):
    node = yaml.safe_load((conf_folder() / "backbone" / "smollm2_probe.yaml").read_text())
    node |= {} if blocks is None else {"blocks": blocks}
    table = RewardTable(pd.DataFrame({"prompt": TRAIN}), pd.DataFrame(), ("m",), "reward")
    tokens = np.mean([estimated_tokens(prompt) for prompt in table.prompts["prompt"]])
    expected = pytest.approx(passes * 2 * 134515008 * tokens)
    assert router_cost(table, node, Cost(), "flops") == expected
    joined = {"_target_": "erp.backbones.joined.JoinedBackbone", "parts": [node, node]}
    assert router_cost(table, joined, Cost(), "flops") == pytest.approx(2 * passes * 2 * 134515008 * tokens)
    assert router_cost(table, {**node, "active_parameters": None}, Cost(), "flops") is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"blocks": []}, r"backbone\.blocks = \[\]: give one or more of states"),
        ({"blocks": ["knows", "knows"]}, r"backbone\.blocks = .*each once"),
        ({"blocks": ["layers"]}, r"backbone\.blocks"),
        ({"components": 0}, r"backbone\.components = 0: give 1 or more"),
        ({"max_tokens": 0}, r"backbone\.max_tokens = 0"),
    ],
)
def test_bad_settings_are_refused_by_name(changes, fault):
    with pytest.raises(ErpError, match=fault):
        build_backbone(
            {"_target_": "erp.backbones.llm_probe.LLMProbeBackbone", "model": "nobody/none", **changes}, None
        )


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    base = tiny_llama(tmp_path / "base", chat_template=None)
    with pytest.raises(ErpError, match=r"backbone\.model = .*has no chat template"):
        probe(base).readings(["a"])


@pytest.mark.parametrize("option", ["llm_probe", "smollm2_probe", "qwen_0_5b_probe", "qwen_1_5b_probe"])
def test_options_build_and_name_members_of_the_pool(option):
    node = yaml.safe_load((conf_folder() / "backbone" / f"{option}.yaml").read_text())
    made = build_backbone(node, None)
    assert made.parameters_per_token() == 2 * node["active_parameters"]
    if option != "llm_probe":
        pool = yaml.safe_load((conf_folder() / "pool" / "mini.yaml").read_text())["members"]
        released = {(m["model"], m["file"], m["sha256"], m["active_parameters"]) for m in pool}
        assert (node["model"], node["file"], node["sha256"], node["active_parameters"]) in released


def test_a_gguf_file_needs_packages_that_are_named(tmp_path, monkeypatch):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("erp.backbones.causal_lm_states.find_spec", lambda name: None)
    one = LLMProbeBackbone("nobody/tiny", file="tiny.gguf", max_tokens=64)
    one.look_in(str(tmp_path))
    with pytest.raises(ErpError, match=r"tiny\.gguf: transformers unpacks it, .* pip install 'erp\[gguf\]'"):
        one.readings(["a"])


def test_a_damaged_gguf_file_is_named(tmp_path):
    pytest.importorskip("accelerate")
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    one = LLMProbeBackbone("nobody/tiny", file="tiny.gguf", max_tokens=64)
    one.look_in(str(tmp_path))
    with pytest.raises(ErpError, match="cannot be loaded as a causal LM"):
        one.readings(["a"])


@pytest.mark.slow
def test_a_gguf_file_gives_what_llama_cpp_gives_within_quantisation():
    """Last layer of SmolLM2 in 4 bits: llama.cpp rounds activations to 8 bits, transformers computes in 32."""
    pytest.importorskip("accelerate")
    pytest.importorskip("xllamacpp")
    folder = os.environ.get("ERP_WEIGHTS")
    if folder is None:
        pytest.skip("ERP_WEIGHTS names no folder of weights")
    node = yaml.safe_load((conf_folder() / "backbone" / "smollm2_probe.yaml").read_text())
    states, numbers = build_backbone(node, folder).readings(PROMPTS)
    hidden = yaml.safe_load((conf_folder() / "backbone" / "smollm2_hidden.yaml").read_text())
    other = normalised(build_backbone({**hidden, "template": "chat"}, folder).embed(PROMPTS))
    assert states.shape == (len(PROMPTS), 31, 576)
    assert ((normalised(states[:, -1]) * other).sum(axis=1) > 0.99).all()
    assert (numbers["likelihood"][:, 0] > 0.1).all()
    half, coarse = build_backbone({**node, "dtype": "bfloat16"}, folder).readings(PROMPTS)
    cosines = (states * half).sum(-1) / np.linalg.norm(states, axis=-1) / np.linalg.norm(half, axis=-1)
    assert (cosines > 0.999).all()
    assert np.abs(coarse["knows"] - numbers["knows"]).max() < 0.3


def test_a_gguf_file_that_is_unpacked_may_be_read_in_16_bits_and_one_that_llama_cpp_reads_may_not():
    kinds = {"file": "tiny.gguf", "dtype": "bfloat16"}
    assert "dtype=bfloat16" in LLMProbeBackbone("nobody/tiny", sha256="0" * 64, **kinds).recipe()
    with pytest.raises(ErpError, match=r"backbone\.dtype = bfloat16: a GGUF file has a type of its own"):
        LLMHiddenBackbone("nobody/tiny", sha256="0" * 64, **kinds)
