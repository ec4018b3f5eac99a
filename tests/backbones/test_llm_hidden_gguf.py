"""Hidden states of a GGUF file through llama.cpp, against a Llama written out in numpy."""

import hashlib

import numpy as np
import pytest
import yaml

from erp.backbones.base import build_backbone
from erp.backbones.llm_hidden import LLMHiddenBackbone
from erp.compose import conf_folder
from erp.errors import ErpError

pytest.importorskip("xllamacpp")
gguf = pytest.importorskip("gguf")

from tests.engines.tiny_gguf import HEADS, LAYERS, WIDTH, write_tiny_gguf  # noqa: E402

PROMPTS = ["Is it so? Yes or No", "a", "Write a short poem about the sea, the wind and the rain."]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def backbone(file, **changes):
    there = {"file": file.name, "max_tokens": 64, "batch_size": 4, "device": "cpu"}
    made = LLMHiddenBackbone("nobody/Tiny-GGUF", **{**there, **changes})
    made.look_in(str(file.parent))
    return made


@pytest.fixture(scope="module")
def states(file):
    """Every setting's backbone, loaded once."""
    made = {}

    def with_(**changes):
        return made.setdefault(tuple(sorted(changes.items())), backbone(file, **changes))

    return with_


@pytest.fixture(scope="module")
def by_hand(file):
    """States of a text after the final norm, (tokens, d), by the equations of Llama (Touvron et al. 2023)."""
    reader = gguf.GGUFReader(file)
    tensors = {t.name: np.array(t.data, dtype=np.float64) for t in reader.tensors}
    field = reader.fields["tokenizer.ggml.tokens"]
    vocabulary = [bytes(field.parts[i]).decode() for i in field.data]

    def norm(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)

    def rotated(x):  # (tokens, heads, head width): neighbours are turned as pairs
        tokens, _, width = x.shape
        angle = np.arange(tokens)[:, None, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        a, b = x[..., 0::2], x[..., 1::2]
        pairs = np.stack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)
        return pairs.reshape(x.shape)

    def layer(x, block):
        q, k, v = ((norm(x) @ tensors[f"{block}attn_{n}.weight"].T).reshape(len(x), HEADS, -1) for n in "qkv")
        q, k = rotated(q), rotated(k)
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])
        scores[:, ~np.tri(len(x), dtype=bool)] = -np.inf
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", attention, v).reshape(len(x), -1) @ tensors[f"{block}attn_output.weight"].T
        gate, up = (norm(x) @ tensors[f"{block}ffn_{n}.weight"].T for n in ("gate", "up"))
        return x + (gate / (1 + np.exp(-gate)) * up) @ tensors[f"{block}ffn_down.weight"].T

    def run(tokens):
        x = tensors["token_embd.weight"][[vocabulary.index(token) for token in tokens]]
        for number in range(LAYERS):
            x = layer(x, f"blk.{number}.")
        return norm(x)

    return run


def letters(text):
    """Tokens of a text in which no two letters merge: a blank is written as this vocabulary writes it."""
    return [letter.replace(" ", "Ġ") for letter in text]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_are_a_forward_pass_by_hand(states, by_hand, pooling):
    texts = ["hello world", "a", "a quick brown fox jumps"]
    vectors = states(pooling=pooling).embed(texts)
    assert vectors.shape == (3, WIDTH)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        hidden = by_hand(letters(text))
        assert vector == pytest.approx(hidden.mean(0) if pooling == "mean" else hidden[-1], abs=1e-5)


def test_the_chat_template_is_put_around_the_prompt_and_the_answer_opened(states, by_hand):
    (vector,) = states(pooling="last", template="chat").embed(["hi"])
    assert vector == pytest.approx(by_hand(["<|user|>", "h", "i", "<|end|>", "<|assistant|>"])[-1], abs=1e-5)


@pytest.mark.parametrize("changes", [{"pooling": "mean"}, {"pooling": "last", "template": "chat"}])
def test_a_batch_gives_what_each_prompt_gives_alone(states, changes):
    # Of many lengths: where batches are cut to the shortest, a mean is that of a prompt's last piece
    prompts = [*PROMPTS, "Yes", "No no", "xyz", *("abc xyz " * n for n in range(1, 8))]
    model = states(**changes)
    assert model.embed(prompts) == pytest.approx(np.vstack([model.embed([p]) for p in prompts]), abs=1e-5)


def test_a_long_prompt_loses_its_end(states):
    model = states(pooling="mean", max_tokens=8)
    cut, short = model.embed(["abcdefghijklmnop", "abcdefgh"])
    assert cut == pytest.approx(short, abs=1e-5)
    emoji, before = model.embed(["abcdefg🙂", "abcdefg"])  # the eighth token is a quarter of the emoji
    assert emoji == pytest.approx(before, abs=1e-5)


def test_odd_prompts(states):
    model = states(pooling="mean")
    empty, word = model.embed(["", "word"])  # this vocabulary puts nothing around a text
    assert not empty.any()
    assert word.any()
    assert np.array_equal(model.embed([""]), np.zeros((1, WIDTH), dtype=np.float32))
    assert model.embed([]).shape == (0, WIDTH)
    broken, marked = model.embed(["half \ud83d here", "half ? here"])
    assert broken == pytest.approx(marked, abs=1e-6)


def test_the_fingerprint_is_of_the_file_whatever_it_is_called(file, tmp_path):
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    print_ = backbone(file).fingerprint()
    assert sha256 in print_
    assert LLMHiddenBackbone("nobody/Tiny-GGUF", file="x.gguf", sha256=sha256, max_tokens=64).fingerprint() == print_
    others = [{"pooling": "last"}, {"template": "chat"}, {"max_tokens": 65}]
    assert len({print_, *(backbone(file, **change).fingerprint() for change in others)}) == 4
    with pytest.raises(ErpError, match="has sha256"):
        backbone(file, sha256="0" * 64).embed(["a"])


def test_a_file_that_is_no_gguf_is_named(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing")
    with pytest.raises(ErpError, match=r"broken\.gguf: llama\.cpp does not load it"):
        backbone(tmp_path / "broken.gguf").embed(["a"])


@pytest.mark.parametrize("option", ["llm_hidden", "smollm2_hidden", "qwen_0_5b_hidden"])
def test_options_build_and_name_released_weights(option):
    node = yaml.safe_load((conf_folder() / "backbone" / f"{option}.yaml").read_text())
    made = build_backbone(node, None)
    assert isinstance(made, LLMHiddenBackbone)
    assert made.active_parameters > 1e8
    if option != "llm_hidden":
        pool = yaml.safe_load((conf_folder() / "pool" / "mini.yaml").read_text())["members"]
        released = {(m["model"], m["file"], m["sha256"], m["active_parameters"]) for m in pool}
        assert (node["model"], node["file"], node["sha256"], node["active_parameters"]) in released
        assert node["sha256"] in made.fingerprint()
