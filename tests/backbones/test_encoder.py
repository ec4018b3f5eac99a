"""An encoder that can be trained: its embeddings, its gradients, the rate of every layer, and its fingerprint."""

import re

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from erp.backbones.base import Trainable, trains
from erp.backbones.cache import embed_prompts
from erp.backbones.joined import JoinedBackbone
from erp.backbones.sentence_transformer import SentenceTransformerBackbone
from erp.errors import ErpError
from tests.backbones.tiny_encoders import LAYERS, WIDTH, tiny_encoder

KINDS = [("bert", "mean"), ("mpnet", "mean"), ("modernbert", "cls"), ("qwen3", "lasttoken"), ("deberta", "cls")]
PROMPTS = ["Write a poem about the sea.", "a", "Is it?", "", "Sum 1 and 2, please"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("encoders")
    return {kind[0]: tiny_encoder(base / kind[0], *kind) for kind in KINDS}


def encoder_of(folder, **arguments):
    """In evaluation mode, on the CPU."""
    return SentenceTransformerBackbone(str(folder), **arguments).encoder().eval()


@pytest.mark.parametrize("architecture", [kind[0] for kind in KINDS])
def test_embeddings_are_those_that_the_cache_would_hold(folders, architecture):
    settings = {"prefix": "query: ", "max_tokens": 12, "batch_size": 2}
    frozen = embed_prompts(PROMPTS, SentenceTransformerBackbone(str(folders[architecture]), **settings))
    encoder = encoder_of(folders[architecture], **settings)
    vectors = encoder(PROMPTS)
    assert vectors.requires_grad
    np.testing.assert_allclose(vectors.detach().numpy(), frozen, atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(encoder(PROMPTS).numpy(), frozen, atol=1e-6)


@pytest.mark.parametrize("architecture", [kind[0] for kind in KINDS])
def test_a_prompt_is_embedded_alike_alone_and_in_a_batch(folders, architecture):
    encoder = encoder_of(folders[architecture])
    alone = torch.cat([encoder([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(encoder(PROMPTS), alone, rtol=0, atol=1e-5)


def gradients(encoder, vectors):
    encoder.zero_grad()
    direction = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
    (vectors * direction).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_in_parts_has_the_gradient_of_the_parts(folders, training):
    """With dropout too: what was dropped when a part is gone through again is what was dropped before."""
    encoder = encoder_of(folders["bert"], batch_size=2).train(training)
    prompts = sorted(PROMPTS, key=len)
    torch.manual_seed(0)
    whole = encoder(prompts)
    found = gradients(encoder, whole)
    torch.manual_seed(0)
    parts = torch.cat([encoder(prompts[start : start + 2]) for start in range(0, len(prompts), 2)])
    expected = gradients(encoder, parts)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(found, expected)
    assert training == (not torch.equal(whole, encoder(prompts)))  # dropout draws anew


def test_of_a_batch_in_parts_no_part_is_kept_in_memory_for_its_gradient(folders):
    """Each is gone through again; one part alone is not."""
    passes = []
    for size in (2, len(PROMPTS)):
        encoder = encoder_of(folders["bert"], batch_size=size)
        encoder.model.register_forward_pre_hook(lambda *_: passes.append(1))
        gradients(encoder, encoder(PROMPTS))
        passes.append(0)
    assert "".join(map(str, passes)) == "1" * 6 + "0" + "1" + "0"


def test_short_prompts_are_not_padded_to_a_long_one_of_their_batch(folders):
    """Eight at once, by length: [CLS] a [SEP] for the short ones. Once each: they fit into a batch."""
    long, seen = "one two three four five six seven eight nine ten", []
    prompts = [long, *["a"] * 8, *[long] * 7]
    encoder = encoder_of(folders["bert"], batch_size=16)
    encoder.model.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0]["input_ids"].shape)))
    vectors = encoder(prompts)
    gradients(encoder, vectors)
    assert [shape[0] for shape in seen] == [8, 8]
    assert seen[0][1] == 3 < seen[1][1]
    torch.testing.assert_close(vectors[[0, 1]], encoder([long, "a"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", [kind[0] for kind in KINDS])
def test_every_layer_has_its_rate(folders, architecture):
    encoder = encoder_of(folders[architecture], encoder_learning_rate=0.01, layer_decay=0.5)
    found = {id(p): group["lr"] for group in encoder.groups() for p in group["params"]}
    named = dict(encoder.named_parameters())
    assert len(found) == sum(len(group["params"]) for group in encoder.groups()) == len(named)
    for name, parameter in named.items():
        layer = re.search(r"layers?\.(\d+)\.", name)
        below_the_top = LAYERS if "embed" in name else LAYERS - 1 - int(layer[1]) if layer else 0
        assert found[id(parameter)] == pytest.approx(0.01 * 0.5**below_the_top), name
    assert len(encoder.groups()) == LAYERS + 1


def test_without_decay_there_is_one_rate(folders):
    (group,) = encoder_of(folders["bert"], encoder_learning_rate=0.01, layer_decay=1.0).groups()
    assert group["lr"] == 0.01
    assert len(group["params"]) == len(list(AutoModel.from_pretrained(folders["bert"]).parameters()))


def test_an_encoder_without_layers_is_trained_at_one_rate_or_refused_by_name(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from tests.backbones.tiny_encoders import _letters

    words = StaticEmbedding(_letters().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[words], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(ErpError, match=r"backbone\.layer_decay = 0\.9: the layers of .*static are not found.* give 1"):
        encoder_of(tmp_path / "static")
    with pytest.raises(ErpError, match=r"backbone\.pooling = cls: .*static makes its vectors without pooling"):
        encoder_of(tmp_path / "static", pooling="cls")
    encoder = encoder_of(tmp_path / "static", layer_decay=1.0)
    assert len(gradients(encoder, encoder(PROMPTS[:3]))) == 1


def test_a_plain_transformers_model_is_averaged_over_its_tokens(folders):
    plain = folders["bert"].parent / "bert-plain"
    tokenizer, model = AutoTokenizer.from_pretrained(plain), AutoModel.from_pretrained(plain).eval()
    with torch.no_grad():
        states = model(**tokenizer(PROMPTS[0], return_tensors="pt")).last_hidden_state[0].mean(0)
        found = encoder_of(plain)([PROMPTS[0]])[0]
    torch.testing.assert_close(found, states / states.norm(), rtol=0, atol=1e-6)
    assert found.shape == (WIDTH,)


def test_embeddings_and_fingerprint_follow_the_weights(folders):
    released = SentenceTransformerBackbone(str(folders["bert"]))
    backbone = SentenceTransformerBackbone(str(folders["bert"]), finetune=True)
    assert backbone.fingerprint() == released.fingerprint()  # the first embeddings are those of the release
    before = backbone.embed(PROMPTS)
    encoder = backbone.encoder()
    assert backbone.encoder() is encoder
    handed_out = backbone.fingerprint()
    assert handed_out.startswith(released.fingerprint())
    weight = next(p for name, p in encoder.named_parameters() if "layer.1.attention.self.query.weight" in name)
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
    assert backbone.fingerprint() not in (handed_out, released.fingerprint())
    assert not np.allclose(backbone.embed(PROMPTS), before, atol=1e-4)
    with torch.no_grad():
        weight.copy_(kept)
    assert backbone.fingerprint() == handed_out
    np.testing.assert_array_equal(backbone.embed(PROMPTS), before)


def test_what_is_trained_is_said_by_the_backbone():
    assert isinstance(SentenceTransformerBackbone("x"), Trainable)
    assert not trains(SentenceTransformerBackbone("x"))
    assert trains(SentenceTransformerBackbone("x", finetune=True))
    assert not trains(JoinedBackbone([SentenceTransformerBackbone("x")]))
    with pytest.raises(ErpError, match=r"backbone\.parts\.1\.finetune = true: a part of a joined backbone stays"):
        JoinedBackbone([SentenceTransformerBackbone("x"), SentenceTransformerBackbone("x", finetune=True)])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder_learning_rate", 0.0),
        ("encoder_learning_rate", float("inf")),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
    ],
)
def test_rates_that_are_none_are_refused_by_name(key, value):
    with pytest.raises(ErpError, match=rf"backbone\.{key} = {value}: give a number above 0"):
        SentenceTransformerBackbone("x", **{key: value})
