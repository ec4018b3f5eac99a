"""TF-IDF and a truncated SVD, against scikit-learn's own pipeline; what is learnt, saved and named."""

import io

import numpy as np
import pytest
import torch
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer

from erp.backbones.base import FittedBackbone, Weighted, build_backbone
from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.tfidf import TfidfBackbone
from erp.compose import conf_folder
from erp.errors import ErpError

WORDS = ["river", "stone", "red", "fox", "blue", "whale", "green", "tea", "sea", "wind", "rain", "sum", "three", "poem",
         "short", "night", "day"]  # fmt: skip
RANDOM = np.random.default_rng(0)
TRAIN = [" ".join(RANDOM.choice(WORDS, size=size)) for size in RANDOM.integers(2, 12, size=60)]
NEW = ["red fox at night", "Sea, sea; wind!", "three sums", "nothing known here", "", "\ud800"]


def fitted(prompts=TRAIN, **settings):
    backbone = TfidfBackbone(**settings)
    backbone.fit(prompts)
    return backbone


def saved(state):
    """Through the file format of a checkpoint, where only tensors and plain values are read."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("ngram_max", [1, 2])
def test_vectors_are_those_of_scikit_learn(ngram_max):
    """Up to the sign of a component: products of rows are compared, and all components are kept."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, ngram_max))
    weighted = vectorizer.fit_transform(TRAIN)
    size = min(weighted.shape)
    expected = weighted.toarray() @ np.linalg.svd(weighted.toarray(), full_matrices=False)[2].T
    ours = fitted(dimensions=1000, ngram_max=ngram_max)
    vectors = ours.embed(TRAIN)
    assert vectors.shape == (len(TRAIN), size)
    assert vectors @ vectors.T == pytest.approx(expected @ expected.T, abs=1e-5)
    new = vectorizer.transform([n.encode("utf-8", "replace").decode() for n in NEW]).toarray()
    assert (ours.embed(NEW) @ vectors.T) == pytest.approx(new @ weighted.toarray().T, abs=1e-5)


def test_components_are_the_leading_ones_in_order():
    weighted = TfidfVectorizer(sublinear_tf=True).fit_transform(TRAIN).toarray()
    _, values, right = np.linalg.svd(weighted, full_matrices=False)
    vectors = fitted(dimensions=5).embed(TRAIN)
    assert vectors.shape == (len(TRAIN), 5)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=0) == pytest.approx(values[:5], rel=1e-3)
    assert np.abs(vectors) == pytest.approx(np.abs(weighted @ right[:5].T), abs=5e-3)


def test_unknown_words_are_nothing_and_odd_prompts_pass():
    vectors = fitted().embed(NEW)
    assert np.isfinite(vectors).all()
    assert [bool(row.any()) for row in vectors] == [True, True, True, False, False, False]
    assert fitted().embed([]).shape == (0, vectors.shape[1])


def test_a_prompt_is_embedded_alike_alone_and_in_a_batch():
    backbone = fitted()
    assert backbone.embed(TRAIN[:3]) == pytest.approx(np.vstack([backbone.embed([p]) for p in TRAIN[:3]]), abs=1e-6)


def test_the_order_of_the_train_prompts_does_not_matter():
    one, other = fitted(TRAIN), fitted(TRAIN[::-1])
    assert one.fingerprint() == other.fingerprint()
    assert np.array_equal(one.embed(NEW), other.embed(NEW))


def test_the_vocabulary_keeps_the_most_frequent_terms():
    backbone = fitted(["owl owl owl cat", "owl cat dog", "cat bee"], vocabulary=2)
    assert backbone.state()["terms"] == ["cat", "owl"]  # 3 and 4 times
    assert fitted(["bee ant", "cat"], vocabulary=2).state()["terms"] == ["ant", "bee"]  # a tie: by the alphabet


def test_the_state_alone_embeds_as_before():
    backbone = fitted(ngram_max=2, dimensions=10)
    again = TfidfBackbone(ngram_max=2, dimensions=10)
    again.restore(saved(backbone.state()))
    assert np.array_equal(again.embed([*TRAIN, *NEW]), backbone.embed([*TRAIN, *NEW]))
    assert again.fingerprint() == backbone.fingerprint()


def test_the_state_is_a_copy():
    backbone = fitted()
    before = backbone.fingerprint()
    state = backbone.state()
    state["idf"].zero_()
    state["components"].zero_()
    state["terms"].clear()
    assert backbone.fingerprint() == before


def test_the_fingerprint_names_the_train_prompts_and_the_settings():
    prints = [fitted(TRAIN), fitted(TRAIN[1:]), fitted([*TRAIN, TRAIN[0]]), fitted(dimensions=5), fitted(vocabulary=9),
              fitted(ngram_max=2)]  # fmt: skip
    assert len({one.fingerprint() for one in prints}) == len(prints)
    assert fitted().fingerprint() == fitted().fingerprint()


def test_no_two_splits_share_a_cache(tmp_path):
    first, second = fitted(TRAIN[:30]), fitted(TRAIN[30:])
    for backbone in (first, second, first):
        rows = cached_embeddings(TRAIN, backbone, tmp_path, progress=False).take(np.arange(len(TRAIN)))
        assert np.array_equal(rows, embed_prompts(TRAIN, backbone))
    assert len([path for path in (tmp_path / "embeddings").iterdir() if path.is_dir()]) == 2


def test_before_it_has_learnt_anything_it_says_so():
    for call in (TfidfBackbone().fingerprint, TfidfBackbone().state, lambda: TfidfBackbone().embed(["a"])):
        with pytest.raises(ErpError, match="has not seen the train prompts yet"):
            call()


@pytest.mark.parametrize("prompts", [[], [""], ["a b c", "?"]])
def test_train_prompts_without_a_word_are_refused(prompts):
    with pytest.raises(ErpError, match="have no word of two letters"):
        fitted(prompts)


@pytest.mark.parametrize("prompts", [["word"], ["word", "word"], ["same words here"] * 5])
def test_few_or_equal_prompts_give_few_dimensions(prompts):
    backbone = fitted(prompts)
    vectors = backbone.embed(prompts)
    assert vectors.shape[1] == 1
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(prompts)), abs=1e-6)


@pytest.mark.parametrize("setting", ["dimensions", "ngram_max", "vocabulary"])
def test_settings_below_one_are_refused_by_name(setting):
    with pytest.raises(ErpError, match=f"backbone.{setting} = 0"):
        TfidfBackbone(**{setting: 0})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("idf"),
        lambda state: state["terms"].pop(),
        lambda state: state.update(components=state["components"][0]),
        lambda state: state.update(idf=[1.0]),
        lambda state: state.clear(),
    ],
)
def test_a_foreign_state_is_refused(spoil):
    state = fitted().state()
    spoil(state)
    with pytest.raises(ErpError, match="the saved state is not of this backbone"):
        TfidfBackbone().restore(state)


def test_the_option_builds_and_is_fitted():
    node = yaml.safe_load((conf_folder() / "backbone" / "tfidf.yaml").read_text())
    made = build_backbone(node, None)
    assert isinstance(made, FittedBackbone)
    assert not isinstance(made, Weighted)
    assert made.dimensions == 256
