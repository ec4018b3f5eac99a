"""The bag of words: what it counts, and what it is cached under."""

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from erp.backbones.base import Backbone, normalised
from erp.backbones.hashing import HashingBackbone
from erp.errors import ErpError


def test_a_vector_holds_signed_word_counts():
    one, twice, both = HashingBackbone(4096).embed(["river", "river River", "river stone"])
    assert np.abs(one).sum() == 1
    assert np.array_equal(twice, 2 * one)
    assert np.array_equal(both - one, HashingBackbone(4096).embed(["stone"])[0])


def test_rows_come_in_the_order_of_the_prompts_as_float32():
    words = [f"word{i}" for i in range(20)]
    vectors = HashingBackbone(256).embed(words)
    assert vectors.shape == (20, 256)
    assert vectors.dtype == np.float32
    assert np.array_equal(HashingBackbone(256).embed(words[::-1]), vectors[::-1])


def test_ngrams_tell_orders_apart_and_words_do_not():
    orders = ["dog bites man", "man bites dog"]
    words, pairs = HashingBackbone(4096).embed(orders), HashingBackbone(4096, ngram_max=2).embed(orders)
    assert np.array_equal(words[0], words[1])
    assert not np.array_equal(pairs[0], pairs[1])


@pytest.mark.parametrize("ngrams", [1, 2])
def test_every_text_is_counted_as_scikit_learn_counts_it(ngrams):
    """Whatever stands for white space, joins letters, or is written otherwise in lower case at a word's end."""
    spaces = "\t\n\x1c\x1f\x85\xa0\u2003\u200b\u200d\u2028\u3000\ufeff\u180e"
    greek = "\N{GREEK CAPITAL LETTER SIGMA}\N{GREEK SMALL LETTER SIGMA}\N{GREEK SMALL LETTER FINAL SIGMA}"
    others = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}\N{LATIN SMALL LETTER DOTLESS I}\xdf\u0301\u0345\xb7\u65e5\ud800"
    letters = "abAB1_'-.:   " + spaces + greek + others
    rng = random.Random(0)
    texts = ["", *("".join(rng.choices(letters, k=rng.randrange(40))) for _ in range(3000))]
    judge = HashingVectorizer(n_features=256, ngram_range=(1, ngrams), norm=None).transform(texts).toarray()
    found = HashingBackbone(256, ngrams).embed(texts)
    assert found.any(axis=1).mean() > 0.5
    np.testing.assert_array_equal(found, judge)
    assert HashingBackbone(256, ngrams).embed([]).shape == (0, 256)


@pytest.mark.parametrize("prompt", ["", " \n\t", "?!... --", "\ud800", "🙂"])
def test_a_prompt_without_words_is_a_zero_vector(prompt):
    assert not HashingBackbone(64).embed([prompt]).any()


def test_every_setting_is_in_the_fingerprint():
    settings = [(64, 1), (128, 1), (64, 2)]
    assert len({HashingBackbone(*setting).fingerprint() for setting in settings}) == len(settings)
    assert HashingBackbone(64).fingerprint() == HashingBackbone(64, 1).fingerprint()


@pytest.mark.parametrize("setting", ["dimensions", "ngram_max"])
def test_settings_below_one_are_refused_by_name(setting):
    with pytest.raises(ErpError, match=f"backbone.{setting} = 0"):
        HashingBackbone(**{setting: 0})


def test_normalised_rows_have_length_one_and_zero_stays_zero():
    rows = normalised(np.array([[3, 4], [0, 0], [1e-9, 0]], dtype=np.float32))
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0, 0], [1, 0]]))
    assert rows.dtype == np.float32


def test_a_backbone_that_defines_nothing_says_which_method_is_missing():
    class Empty(Backbone):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no fingerprint"):
        Empty().fingerprint()
    with pytest.raises(NotImplementedError, match="Empty defines no embed"):
        Empty().embed(["a"])
