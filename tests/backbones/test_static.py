"""Static embeddings, as their option configures them: every vector is a mean that numpy takes of a release on disk."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from erp.backbones.base import Weighted, build_backbone
from erp.backbones.cache import embed_prompts
from erp.compose import conf_folder
from erp.errors import ErpError

model2vec = pytest.importorskip("model2vec")

NODE = yaml.safe_load((conf_folder() / "backbone" / "static.yaml").read_text())
WORDS = ["[PAD]", "[UNK]", "how", "do", "i", "bake", "bread", "##s", "?", "prime", "is", "ten"]
PROMPTS = ["How do I bake bread?", "", "primes primes", "never seen", "bread, ten " * 300, "half \ud83d ten"]
WIDTH = 5


def tokens(text):
    """What the tokenizer reads, by hand: words without a vector are none, half an emoji is a question mark."""
    found = "".join(c if c.isalnum() else f" {c} " for c in text.lower().replace("\ud83d", "?")).split()
    pieces = [["prime", "##s"] if word == "primes" else [word] for word in found]
    return [WORDS.index(piece) for of_word in pieces for piece in of_word if piece in WORDS]


def release(folder, dtype=np.float32, **more):
    """A model as model2vec's own tool writes it; returns its vectors."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    vectors = (
        np.random.default_rng(0).normal(size=(len(more.get("weights", WORDS)) and len(WORDS), WIDTH)).astype(dtype)
    )
    if "token_mapping" in more:
        vectors = vectors[: more["token_mapping"].max() + 1]
    model2vec.StaticModel(vectors, tokenizer, **more).save_pretrained(folder, "tiny")
    return vectors.astype(np.float64)


def by_hand(vectors, prompts, weights=None):
    """Means at length one; no token, no vector."""
    weights = np.ones(len(WORDS)) if weights is None else weights
    sums = [np.zeros(WIDTH) + sum(weights[i] * vectors[i] for i in tokens(prompt)) for prompt in prompts]
    return np.array([total / (np.linalg.norm(total) or 1) for total in sums])


def node(folder, **changes):
    return {**NODE, "model": str(folder), "sha256": None, "tokenizer_sha256": None, **changes}


@pytest.fixture
def tiny(tmp_path):
    """A release, and its vectors."""
    return tmp_path / "tiny", release(tmp_path / "tiny")


def test_a_vector_is_the_mean_of_its_tokens_vectors(tiny):
    folder, vectors = tiny
    backbone = build_backbone(node(folder), None)
    found = embed_prompts(PROMPTS, backbone)
    assert (found.dtype, found.shape) == (np.float32, (len(PROMPTS), WIDTH))
    np.testing.assert_allclose(found, by_hand(vectors, PROMPTS), atol=1e-5)
    assert not found[1].any()  # no token
    assert not found[3].any()  # none that is known
    raw = vectors[[WORDS.index("prime"), WORDS.index("##s")]].mean(axis=0)
    np.testing.assert_allclose(backbone.embed(["primes primes"])[0], raw, rtol=1e-6)
    assert backbone.embed([]).shape == (0, WIDTH)


def test_all_of_a_long_prompt_is_read(tiny):
    folder, vectors = tiny
    backbone = build_backbone(node(folder), None)
    prompt = "bread " * 2000 + "ten " * 2000  # model2vec itself would read 512 tokens
    np.testing.assert_allclose(embed_prompts([prompt], backbone), by_hand(vectors, [prompt]), atol=1e-4)
    assert backbone.window() is None
    assert backbone.unread([prompt]).tolist() == [0]


def test_a_vector_depends_on_its_prompt_alone(tiny):
    backbone = build_backbone(node(tiny[0]), None)
    prompts = [*PROMPTS, *(" ".join(WORDS[2 + i % 9 :]) for i in range(70))]  # of equal lengths too, and a batch more
    together = backbone.embed(prompts)
    assert np.array_equal(together, np.concatenate([backbone.embed([prompt]) for prompt in prompts]))
    assert np.array_equal(together[::-1], backbone.embed(prompts[::-1]))


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_vectors_in_fewer_bits_are_averaged_in_32(tmp_path, dtype):
    vectors = release(tmp_path, dtype)
    found = embed_prompts(PROMPTS, build_backbone(node(tmp_path), None))
    np.testing.assert_allclose(found, by_hand(vectors, PROMPTS), atol=1e-5)


def test_tokens_may_share_vectors_with_weights_of_their_own(tmp_path):
    mapping, weights = np.arange(len(WORDS)) % 4, np.linspace(0.5, 2, len(WORDS)).astype(np.float32)
    shared = release(tmp_path, token_mapping=mapping, weights=weights)
    found = embed_prompts(PROMPTS, build_backbone(node(tmp_path), None))
    np.testing.assert_allclose(found, by_hand(shared[mapping], PROMPTS, weights), atol=1e-5)


def test_the_fingerprint_is_of_both_files(tiny, tmp_path):
    folder, _ = tiny
    hashes = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.safetensors", "tokenizer.json")
    ]
    pinned = {"sha256": hashes[0], "tokenizer_sha256": hashes[1]}
    of_files = build_backbone(node(folder), None).fingerprint()
    assert of_files == build_backbone({**NODE, **pinned}, None).fingerprint()  # which looks for nothing
    others = [build_backbone({**NODE, **change}, None).fingerprint() for change in ({}, {"tokenizer_sha256": "0" * 64})]
    assert len({of_files, *others}) == 3
    for key in pinned:
        with pytest.raises(ErpError, match="has sha256"):
            build_backbone(node(folder, **{key: "0" * 64}), None).embed(["a"])


def test_files_are_found_in_weights_dir(tiny):
    folder, vectors = tiny
    folder.rename(there := folder.with_name("potion-base-8M"))
    backbone = build_backbone({**NODE, "sha256": None, "tokenizer_sha256": None}, str(there.parent))
    assert isinstance(backbone, Weighted)
    np.testing.assert_allclose(embed_prompts(PROMPTS, backbone), by_hand(vectors, PROMPTS), atol=1e-5)


def line(of):
    with pytest.raises(ErpError) as refused:
        build_backbone(of, None).embed(["bread"])
    (fault,) = refused.value.faults
    assert "\n" not in fault
    return fault


def test_files_of_something_else_are_one_line(tiny, monkeypatch):
    folder, _ = tiny
    weights, words = folder / "model.safetensors", folder / "tokenizer.json"
    good = words.read_bytes()
    words.write_text("{}")
    assert line(node(folder)).startswith(f"{weights}: is no static model with its tokenizer.json (")
    more = json.loads(good)
    more["model"]["vocab"] |= {"extra": len(WORDS)}
    words.write_text(json.dumps(more))
    assert "Number of tokens" in line(node(folder))
    del more["model"]["vocab"]["ten"], more["model"]["vocab"]["extra"]
    more["model"]["vocab"]["bread"] = 99
    more["model"]["vocab"]["other"] = 98
    words.write_text(json.dumps(more))
    assert "its tokenizer knows tokens that have no vector" in line(node(folder))
    words.write_bytes(good)
    save_file({"layer.weight": np.zeros((2, 2), np.float32)}, weights)
    assert "is no static model" in line(node(folder))
    weights.write_bytes(b"abc")
    assert "is no static model" in line(node(folder))
    monkeypatch.setitem(sys.modules, "model2vec", None)
    assert line(node(folder)) == f"backbone.model = {folder}: needs the package model2vec; pip install 'erp[static]'"


def test_embedding_loads_no_torch(tiny):
    code = (
        "import sys, json; from erp.backbones.base import build_backbone;"
        "build_backbone(json.loads(sys.argv[1]), None).embed(['bread'] * 20); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, json.dumps(node(tiny[0]))]
    names = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split())
    assert "model2vec" in names
    assert not names & {"torch", "transformers", "sentence_transformers", "huggingface_hub", "sklearn"}
