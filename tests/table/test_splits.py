"""Groups and splits: equal texts never part, and nothing moves when prompts are added."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.table.groups import group_prompts
from erp.table.neighbours import DuplicateFacts, duplicate_facts
from erp.table.read import read_table
from erp.table.schema import PROMPT_COLUMNS, RewardTable
from erp.table.splits import split_table
from erp.table.synthetic import Synthetic
from erp.table.texts import text_key

EMPTY = pd.DataFrame({"prompt": [], "member": [], "sample": [], "reward": []})


def table_of(prompts, groups=None, splits=None) -> RewardTable:
    count = len(prompts)
    own = {"prompt": prompts, "group": groups, "split": splits, "prompt_id": [f"p{i}" for i in range(count)]}
    frame = pd.DataFrame({c: [None] * count if own.get(c) is None else own[c] for c in PROMPT_COLUMNS}, dtype=object)
    return RewardTable(frame, EMPTY, ("m",), "reward")


def parts(split, n):
    out = np.full(n, "", dtype=object)
    for name in ("train", "validation", "calibration", "test"):
        rows = getattr(split, name)
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        assert (out[rows] == "").all()
        out[rows] = name
    return out


def test_equal_texts():
    assert text_key("What  is\tthis? ") == text_key("what is this?") == text_key("WHAT IS THIS\uff1f")
    assert text_key("What is that?") != text_key("What is this?")


letters = st.sampled_from("abcdefgh")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(letters, st.none() | st.sampled_from("uvwxyz")), min_size=1, max_size=25))
def test_groups_are_connected_components(rows):
    keys = group_prompts(table_of([t for t, _ in rows], [g for _, g in rows]).prompts).keys
    label = list(range(len(rows)))
    for _ in rows:  # brute force: linked prompts take the smaller label until nothing can change any more
        for i, (text, group) in enumerate(rows):
            for j, (other_text, other_group) in enumerate(rows):
                if text == other_text or (group is not None and group == other_group):
                    label[i] = label[j] = min(label[i], label[j])
    for component in set(label):
        members = [i for i in range(len(rows)) if label[i] == component]
        named = sorted(rows[i][1] for i in members if rows[i][1] is not None)
        assert len({keys[i] for i in members}) == 1
        assert keys[members[0]] == (f"group:{named[0]}" if named else f"text:{text_key(rows[members[0]][0])}")
    assert len(set(keys)) == len(set(label))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(letters, st.none() | st.sampled_from("uvw")), min_size=30, max_size=60),
    st.lists(st.tuples(st.sampled_from("mnopq"), st.none() | st.sampled_from("xyz")), min_size=1, max_size=20),
    st.sampled_from(["group", "prompt"]),
)
def test_splits_stay_when_prompts_are_added(old, new, by):
    # the added prompts have texts and groups of their own, or repeat an old prompt: none joins two components
    grown = [*old, *new, old[0]]
    options = {"by": by, "seed": 3, "test": 0.4, "validation": 0.2, "calibration": 0.2}
    try:
        before = split_table(table_of([t for t, _ in old], [g for _, g in old]), **options)
    except ErpError:
        return  # few letters, so a part may be empty
    after = split_table(table_of([t for t, _ in grown], [g for _, g in grown]), **options)
    now = parts(after, len(grown))
    assert now[: len(old)].tolist() == parts(before, len(old)).tolist()
    assert (now != "").all()
    texts = np.array([t for t, _ in grown])
    for text in set(texts):
        assert len(set(now[texts == text])) == 1
    if by == "group":
        for group in np.unique(after.groups):
            assert len(set(now[after.groups == group])) == 1


def paraphrased(count, seed=0):
    """Prompts of thirty words, and as many with one word changed."""
    words = np.array(Synthetic(prompts=1, members=1, samples=1).draw()[0].prompts["prompt"][0].split())
    rng = np.random.default_rng(seed)
    words = np.array([f"{a}{b}" for a in words for b in words])
    rows = [rng.choice(words, 30, replace=False) for _ in range(count)]
    changed = [["another", *row[1:]] for row in rows]
    return [" ".join(row) for row in rows], [" ".join(row) for row in changed]


def test_near_duplicates_join_groups_and_leave_other_keys_alone():
    first, second = paraphrased(30)
    plain = group_prompts(table_of(first + second).prompts).keys
    keys = group_prompts(table_of(first + second).prompts, 0.8).keys
    assert keys[:30].tolist() == keys[30:].tolist() == [min(a, b) for a, b in zip(plain[:30], plain[30:], strict=True)]
    # alone, a prompt keeps its key; with unrelated prompts, everything does
    assert group_prompts(table_of(first).prompts, 0.8).keys.tolist() == plain[:30].tolist()
    grown = table_of([*paraphrased(50, seed=1)[0], *first, *second])
    assert group_prompts(grown.prompts, 0.8).keys[50:].tolist() == keys.tolist()
    # case and white space do not count
    shouted = table_of([*first, *(f" {text.upper()}  " for text in second)])
    assert group_prompts(shouted.prompts, 0.8).keys.tolist() == keys.tolist()
    # own groups and near-duplicates link on: a - a' (near) - b (own group) - b' (near)
    own = [None] * 60
    own[30], own[1] = "g", "g"
    joined = group_prompts(table_of(first + second, own).prompts, 0.8).keys
    assert [i for i in range(60) if joined[i] == "group:g"] == [0, 1, 30, 31]
    assert [joined[i] for i in range(2, 30)] == keys[2:30].tolist()


def test_own_groups_are_not_cut_where_near_duplicates_are():
    head = paraphrased(1)[0][0]
    texts = [f"{head} {i}" for i in range(20)]
    keys = group_prompts(table_of(texts, ["g"] * 8 + [None] * 12).prompts, 0.8).keys
    assert set(keys[:8]) == {"group:g"}
    assert len(set(keys)) == 13
    facts = duplicate_facts(group_prompts(table_of(texts).prompts, 0.8).near)
    assert facts == DuplicateFacts(groups=0, prompts=0, largest=0, cut=20, leak=0.0)
    assert group_prompts(table_of(texts).prompts, None).near is None


def test_near_duplicates_are_parted_only_by_the_random_split():
    first, second = paraphrased(200)
    table = table_of([*first, *second, *paraphrased(100, seed=1)[0]])
    options = {"seed": 0, "test": 0.5, "validation": 0.1, "near_duplicates": 0.8}
    split = split_table(table, by="group", **options)
    now = parts(split, 500)
    assert now[:200].tolist() == now[200:400].tolist()
    assert len(split.keys) == 300
    assert split.keys[split.groups].tolist() == group_prompts(table.prompts, 0.8).keys.tolist()
    assert split.notes == ("near-duplicates (similarity 0.8 or more): 400 prompts in 200 groups, the largest of 2",)
    parted = split_table(table, by="prompt", **options)
    now = parts(parted, 500)
    leaks = sum((a == "test") != (b == "test") for a, b in zip(now[:200], now[200:400], strict=True))
    assert 60 < leaks < 140
    assert parted.notes == (
        f"{leaks} of {len(parted.test)} test prompts have a near-duplicate (similarity 0.8 or more) "
        "in train or validation",
    )
    assert np.array_equal(parted.groups, split.groups)
    own = table_of([*first, *second], splits=["train"] * 200 + ["test"] * 200)
    assert split_table(own, by="table", **options).notes[-1].startswith("200 of 200 test prompts have a near-duplicate")
    # without a threshold, everything is as it was
    assert split_table(table, by="prompt", seed=0, test=0.5, validation=0.1).notes == ()


def test_what_was_cut_is_told():
    head = paraphrased(1)[0][0]
    table = table_of([f"{head} {i}" for i in range(40)])
    split = split_table(table, by="group", seed=0, test=0.5, validation=0.2, near_duplicates=0.8)
    assert split.notes[1].startswith("40 prompts were chained into groups above 5% of the table, which were cut")


def test_shares_and_seeds():
    table = Synthetic(prompts=4000, members=1, samples=1).draw()[0]
    split = split_table(table, by="prompt", seed=0, test=0.5, validation=0.1, calibration=0.1)
    sizes = [len(split.test), len(split.validation), len(split.calibration), len(split.train)]
    # binomial, four standard deviations
    assert np.allclose(np.array(sizes) / 4000, [0.5, 0.1, 0.1, 0.3], atol=4 * np.sqrt(0.25 / 4000))
    other = split_table(table, by="prompt", seed=1, test=0.5, validation=0.1)
    assert 0.4 < np.isin(split.test, other.test).mean() < 0.6
    assert len(other.calibration) == 0
    # a smaller test share keeps its prompts
    assert np.isin(split_table(table, by="prompt", seed=0, test=0.3, validation=0.1).test, split.test).all()


def test_the_tables_own_split():
    own = (["train"] * 8 + ["test"] * 2) * 100
    table = table_of([f"text {i}" for i in range(1000)], splits=own)
    split = split_table(table, by="table", seed=0, test=0.5, validation=0.1, calibration=0.2)
    now = parts(split, 1000)
    assert (now[np.array(own) == "test"] == "test").all()
    assert len(split.test) == 200
    assert 50 < len(split.validation) < 110  # 80 expected, of 800
    assert 120 < len(split.calibration) < 200  # 160 expected
    own = ["train", "val", "dev", "validation", "test"] * 10
    split = split_table(table_of(list(map(str, range(50))), splits=own), by="table", seed=0, test=0.5, validation=0.1)
    assert len(split.train) == 10
    assert len(split.validation) == 30


def test_own_split_with_values_we_do_not_know():
    table = table_of(list("abcde"), splits=["train", "test", "holdout", None, "holdout"])
    with pytest.raises(ErpError, match=r"holds null \(1 prompts\), holdout \(2 prompts\); allowed are train, test"):
        split_table(table, by="table", seed=0, test=0.5, validation=0.1)


def test_equal_texts_on_both_sides_of_the_own_split():
    texts = ["same", "Same "] + [f"t{i}" for i in range(20)]
    groups = [None, None, "g", "g"] + [None] * 18
    table = table_of(texts, groups, ["train", "test"] * 11)
    options = {"by": "table", "seed": 0, "test": 0.5, "validation": 0.3}
    with pytest.raises(ErpError) as caught:
        split_table(table, **options)
    (line,) = caught.value.faults
    assert "1 prompts have the same text as one in another part: p0;" in line
    assert "split.overlap=drop_from_train" in line
    split = split_table(table, **options, overlap="drop_from_train")
    now = parts(split, 22)
    assert now[0] == ""
    assert now[1] == "test"
    assert split.notes == (
        "dropped for having the text of a prompt held out: 1 prompts",
        "on both sides of the table's own split: 1 groups",
    )


def test_empty_parts_and_shares_out_of_range():
    table = table_of(["a"] * 6 + ["b"])
    with pytest.raises(ErpError, match=r"split.by = group: no prompt in .*\(7 prompts in 2 groups\)"):
        split_table(table, by="group", seed=0, test=0.5, validation=0.1)
    with pytest.raises(ErpError) as caught:
        split_table(table, by="group", seed=0, test=1.5, validation=0.0, calibration=-0.1)
    assert [line.split(":")[0] for line in caught.value.faults] == [
        "split.test = 1.5", "split.validation = 0.0", "split.calibration = -0.1",
    ]  # fmt: skip
    with pytest.raises(ErpError, match="leaves no train prompts"):
        split_table(table, by="group", seed=0, test=0.7, validation=0.2, calibration=0.1)
    with pytest.raises(ErpError, match=r"split.by = row: unknown"):
        split_table(table, by="row", seed=0, test=0.5, validation=0.1)


@pytest.mark.tables
def test_repeated_texts_of_a_real_table(tables):
    table = read_table(tables / "routellm2.parquet")
    split = split_table(table, by="group", seed=0, test=0.5, validation=0.1)
    assert len(table.prompts) - split.groups.max() - 1 == 78
    now = parts(split, len(table.prompts))
    assert pd.Series(now).groupby(table.prompts["prompt"].to_numpy()).nunique().max() == 1
    facts = duplicate_facts(group_prompts(table.prompts, 0.8).near)
    assert (facts.groups, facts.prompts, facts.largest, facts.cut) == (104, 242, 5, 0)
    own = read_table(tables / "llmrouter9.parquet")
    assert len(split_table(own, by="table", seed=0, test=0.5, validation=0.1).test) == 381
