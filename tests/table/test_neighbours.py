"""Near-duplicate texts, judged by the exact Jaccard similarity of every pair."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.table.neighbours import NearDuplicates, duplicate_facts, leak, near_duplicates


def vocabulary(rng, size=2000, letters="abcdefghijklmnopqrstuvwxyz"):
    return ["".join(rng.choice(list(letters), rng.integers(3, 9))) for _ in range(size)]


def changed(words, count, pool, rng):
    """The words with some replaced, as a text."""
    out = list(words)
    for place in rng.choice(len(out), count, replace=False):
        out[place] = pool[rng.integers(len(pool))]
    return " ".join(out)


def shingles(text):
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def similarities(texts):
    """Exact Jaccard similarity of every pair of texts (N, N)."""
    sets = [shingles(text) for text in texts]
    return np.array([[len(a & b) / len(a | b) for b in sets] for a in sets])


def components_of(linked):
    """Brute force: linked texts take the smaller label until nothing changes."""
    labels = np.arange(len(linked))
    while True:
        smallest = np.where(linked, labels[None, :], len(labels)).min(axis=1)
        if (smallest == labels).all():
            return labels
        labels = smallest


def together(labels):
    """Which pairs are of one component (N, N)."""
    labels = np.asarray(labels)
    return labels[:, None] == labels[None, :]


def families(seed, count=40, size=5):
    """Texts of 12 to 60 words in families, members with ever more words changed: pairs of every similarity."""
    rng = np.random.default_rng(seed)
    pool = vocabulary(rng)
    texts = []
    for _ in range(count):
        base = list(rng.choice(pool, rng.integers(12, 61)))
        texts += [changed(base, int(len(base) * share), pool, rng) for share in np.linspace(0, 0.25, size)]
    return texts


@pytest.mark.parametrize("seed", [0, 1])
def test_components_are_those_of_every_pairs_exact_similarity(seed):
    texts = families(seed)
    similar = similarities(texts)
    assert len(texts) == 200
    for threshold in (0.6, 0.7, 0.8, 0.9, 1.0):
        found = near_duplicates(texts, threshold)
        assert not found.cut.any()
        expected = together(components_of(similar >= threshold))
        assert np.array_equal(together(found.component), expected)
    assert 200 < together(near_duplicates(texts, 0.8).component).sum() < 1000  # some of them, not all


@pytest.mark.parametrize("count", [20, 600])
@pytest.mark.parametrize("similarity", [0.7, 0.8, 0.85, 0.9, 1.0])
def test_pairs_of_short_and_long_texts_are_found(count, similarity):
    """Of 300 pairs just as similar none that reaches 0.8 is missed but by a chance of 0.3%, and no other is linked."""
    rng = np.random.default_rng(count)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    own = int(count * (1 - similarity) / (1 + similarity))  # shingles of each text that the other has not
    texts = []
    for _ in range(300):
        shared = "".join(rng.choice(letters, count - own + 4))
        ends = ["".join(rng.choice(letters, own)) for _ in range(2)] if own else ["", ""]
        texts += [shared + ends[0], shared + ends[1]]
    exact = np.array([similarities(pair)[0, 1] for pair in zip(texts[::2], texts[1::2], strict=True)])
    component = near_duplicates(texts, 0.8).component
    found = component[::2] == component[1::2]
    assert not found[exact < 0.8].any()
    assert found[exact >= 0.8].sum() >= (exact >= 0.8).sum() - 3
    assert (exact >= 0.8).mean() > 0.99 if similarity >= 0.8 else (exact < 0.8).mean() > 0.9


def test_how_many_texts_are_looked_at_at_a_time_does_not_matter(monkeypatch):
    texts = families(2) + crowded(loose=20, strict=6, others=100)
    whole = near_duplicates(texts, 0.8)
    monkeypatch.setattr("erp.table.shingles._BLOCK", 300)
    monkeypatch.setattr("erp.table.similar._PAIRS", 7)
    monkeypatch.setattr("erp.table.similar._CHARACTERS", 700)
    few = near_duplicates(texts, 0.8)
    assert np.array_equal(few.component, whole.component)
    assert np.array_equal(few.cut, whole.cut)


def test_one_word_changed_in_forty():
    rng = np.random.default_rng(0)
    pool = vocabulary(rng)
    bases = [list(rng.choice(pool, 40)) for _ in range(300)]
    texts = [" ".join(base) for base in bases] + [changed(base, 1, pool, rng) for base in bases]
    component = near_duplicates(texts, 0.8).component
    assert np.array_equal(component[:300], component[300:])
    assert len(set(component)) == 300


def test_neighbours_of_one_template_are_found_in_a_bucket_of_a_thousand():
    rng = np.random.default_rng(0)
    pool = vocabulary(rng)
    head = list(rng.choice(pool, 60))
    texts = [changed(head, 1, pool, rng) for _ in range(1000)]
    assert near_duplicates(texts, 0.8).cut.all()  # they were one component


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*families(3, count=4), "", "a", "hi", "hi!", "\ud800"]), max_size=30), st.randoms())
def test_the_order_of_texts_does_not_matter(texts, random):
    found = near_duplicates(texts, 0.8)
    order = list(range(len(texts)))
    random.shuffle(order)
    again = near_duplicates([texts[i] for i in order], 0.8)
    for name in ("component", "text", "cut"):
        assert np.array_equal(getattr(again, name), getattr(found, name)[order])
    assert np.array_equal(together(found.text), together(np.unique(texts, return_inverse=True)[1] if texts else []))
    assert (together(found.component) | ~together(found.text)).all()


def test_texts_that_share_nothing_are_apart_whatever_the_threshold():
    rng = np.random.default_rng(0)
    latin = [" ".join(rng.choice(vocabulary(rng, 50, "abcdefghijklm"), 20))]
    other = [" ".join(rng.choice(vocabulary(rng, 50, "nopqrstuvwxyz"), 20))]
    for threshold in (0.01, 0.5, 1.0):
        assert len(set(near_duplicates(latin * 3 + other * 3, threshold).component)) == 2


def test_short_texts_are_not_mixed_up():
    texts = ["hi", "hi!", "ho", "", "h", "yes", "no", "2+2", "2+3", "what is 2+2?", "what is 2+3?"]
    component = near_duplicates([*texts, *texts], 0.5).component
    assert np.array_equal(component[:11], component[11:])
    # the two questions share six of ten shingles, the rest none
    assert len(set(component)) == 10
    assert component[9] == component[10]
    assert len(set(near_duplicates(texts, 0.8).component)) == 11


def test_texts_without_spaces():
    zoo = "从前有一只小狐狸住在森林的深处它每天早晨都会去河边喝水然后和它的朋友们一起玩耍直到太阳下山才回家吃晚饭睡觉"
    rephrased = zoo.replace("朋友", "伙伴")
    other = (
        "请用中文解释一下为什么天空在白天看起来是蓝色的而在日落的时候会变成橙色或者红色并说明其中涉及的物理原理和规律"
    )
    component = near_duplicates([zoo, rephrased, other], 0.75).component
    assert component[0] == component[1] != component[2]


def test_one_text_and_none():
    assert near_duplicates([], 0.8).component.tolist() == []
    found = near_duplicates(["one"], 0.8)
    assert (found.component.tolist(), found.text.tolist(), found.cut.tolist()) == ([0], [0], [False])
    assert duplicate_facts(near_duplicates([], 0.8)).leak == 0.0


def crowded(loose, strict, others, changes=1, seed=0):
    """Texts of one template: `loose` with 8 of 200 words changed, `strict` with `changes` of them; and unlike ones."""
    rng = np.random.default_rng(seed)
    pool = vocabulary(rng)
    base = list(rng.choice(pool, 200))
    texts = [changed(base, 8, pool, rng) for _ in range(loose)]
    near = changed(base, 8, pool, rng).split()
    texts += [changed(near, changes, pool, rng) for _ in range(strict)]
    return texts + [" ".join(rng.choice(pool, 30)) for _ in range(others)]


def test_a_component_above_a_twentieth_is_cut_at_stricter_thresholds():
    texts = crowded(loose=20, strict=6, others=374, changes=3)
    similar = similarities(texts[:26])
    found = near_duplicates([*texts, texts[0]], 0.7)
    # at 0.7 the 27 prompts of the template are one component, above 5% of 401; at 0.9 six of them stay together
    assert set(components_of(similar >= 0.7)) == {0}
    assert 0.9 < similar[20:, 20:].min() < 0.95
    assert np.array_equal(found.cut, np.arange(401) % 400 < 26)
    assert np.array_equal(together(found.component[:26]), together(components_of(similar >= 0.9)))
    assert len(set(found.component[20:26])) == 1
    assert len(set(found.component)) == 395
    assert found.component[400] == found.component[0]  # equal texts stay together
    # among 600 it is below 5%
    assert not near_duplicates(crowded(loose=20, strict=6, others=574), 0.7).cut.any()


def test_what_is_too_large_at_the_strictest_threshold_falls_into_equal_texts():
    texts = crowded(loose=0, strict=30, others=10)
    assert (similarities(texts)[:30, :30] > 0.95).all()
    found = near_duplicates(texts * 2, 0.7)
    assert len(set(found.component)) == 40
    assert np.array_equal(found.component[:40], found.component[40:])
    assert found.cut.reshape(2, 40)[:, :30].all()
    assert not found.cut.reshape(2, 40)[:, 30:].any()


def test_a_handful_of_a_small_table_is_not_cut():
    for strict, cut in ((10, False), (11, True)):
        found = near_duplicates(crowded(loose=0, strict=strict, others=3), 0.8)
        assert found.cut[:strict].all() == found.cut.any() == cut
    # it is prompts that are counted, not texts
    one, other = crowded(loose=0, strict=2, others=0)
    assert near_duplicates([one] * 6 + [other] * 5, 0.8).cut.all()


def test_facts_are_those_of_every_half_split():
    texts = ["a", "a2", "a3", "b", "b2", "c", "c", "d"]
    component = [0, 0, 0, 1, 1, 2, 2, 3]
    text = np.unique(texts, return_inverse=True)[1]
    found = NearDuplicates(np.array(component), text, np.array([False] * 7 + [True]))
    facts = duplicate_facts(found)
    assert (facts.groups, facts.prompts, facts.largest, facts.cut) == (2, 5, 3, 1)
    shares = []
    for sides in itertools.product([False, True], repeat=7):  # every text on one side: all 128 half splits
        side = np.array(sides)[text]
        parted = [leak(found, np.flatnonzero(side == s), np.flatnonzero(side != s)) for s in (False, True)]
        shares.append(sum(parted) / len(texts))
    assert facts.leak == pytest.approx(np.mean(shares))
    assert facts.leak == pytest.approx((3 * 0.75 + 2 * 0.5) / 8)


def test_leak_counts_test_rows():
    found = NearDuplicates(np.array([0, 0, 0, 1, 1, 2]), np.arange(6), np.zeros(6, dtype=bool))
    assert leak(found, np.array([0, 1, 3]), np.array([2, 4, 5])) == 3
    assert leak(found, np.array([0, 1, 2]), np.array([3, 4, 5])) == 0
    assert leak(found, np.array([5]), np.zeros(0, dtype=np.int64)) == 0


def no_search(monkeypatch):
    """Signatures cannot be made: who goes on has found before what there is."""
    monkeypatch.setitem(sys.modules, "rensa", None)


def test_what_was_found_is_kept_for_the_same_texts_in_any_order(tmp_path, monkeypatch):
    texts = [*families(5, count=20), *crowded(loose=0, strict=30, others=10)]
    plain = near_duplicates(texts, 0.8)
    first = near_duplicates(texts, 0.8, cache=tmp_path)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    no_search(monkeypatch)
    again = near_duplicates(texts, 0.8, cache=tmp_path)
    turned = near_duplicates(texts[::-1], 0.8, cache=tmp_path)
    for name in ("component", "text", "cut"):
        assert np.array_equal(getattr(first, name), getattr(plain, name))
        assert np.array_equal(getattr(again, name), getattr(plain, name))
        assert np.array_equal(getattr(turned, name)[::-1], getattr(plain, name))
    # another text, another similarity, and a text that stands there twice (what is too large is a share of all)
    for other, threshold in ((texts[1:], 0.8), (texts, 0.81), ([*texts, texts[0]], 0.8)):
        with pytest.raises(ImportError):
            near_duplicates(other, threshold, cache=tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "other bytes", "another table's", "no numbers"])
def test_a_damaged_file_is_made_anew(tmp_path, monkeypatch, damage):
    texts = families(5, count=20)
    plain = near_duplicates(texts, 0.8, cache=tmp_path)
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    whole = path.read_bytes()
    near_duplicates(texts[1:], 0.8, cache=tmp_path / "other")
    (other,) = [path for path in (tmp_path / "other").rglob("*") if path.is_file()]
    changed_bytes = bytearray(whole)
    changed_bytes[200] ^= 0xFF  # in the numbers
    path.write_bytes({
        "empty": b"", "cut": whole[:-100], "other bytes": bytes(changed_bytes), "another table's": other.read_bytes(),
        "no numbers": b"numbers",
    }[damage])  # fmt: skip
    assert np.array_equal(near_duplicates(texts, 0.8, cache=tmp_path).component, plain.component)
    no_search(monkeypatch)
    assert np.array_equal(near_duplicates(texts, 0.8, cache=tmp_path).component, plain.component)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    texts = families(5, count=20)
    (tmp_path / "file").write_text("no folder")
    found = near_duplicates(texts, 0.8, cache=tmp_path / "file")
    assert np.array_equal(found.component, near_duplicates(texts, 0.8).component)


def test_the_library_is_imported_only_where_it_is_needed():
    code = (
        "import sys, pandas as pd, erp.cli\n"
        "from erp.table.groups import group_prompts\n"
        "frame = pd.DataFrame({'prompt': ['a', 'b'], 'group': [None, None]}, dtype=object)\n"
        "group_prompts(frame)\n"
        "assert 'rensa' not in sys.modules\n"
        "group_prompts(frame, 0.8)\n"
        "assert 'rensa' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
