"""A split that is kept: no prompt of an earlier run changes its part, whatever is added."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.table.groups import group_prompts
from erp.table.kept import Kept
from erp.table.splits import split_table
from erp.table.texts import text_key
from tests.table.test_splits import paraphrased, table_of

OPTIONS = {"by": "group", "seed": 0, "test": 0.4, "validation": 0.2, "near_duplicates": 0.8}


def saved(table, split) -> Kept:
    """What a run folder keeps of a split."""
    keys = [text_key(text) for text in table.prompts["prompt"]]
    frame = {"prompt_id": table.prompts["prompt_id"], "split": split.parts, "text_key": keys}
    return Kept(pd.DataFrame({**frame, "group_key": split.keys[split.groups]}), "ridge-hashing-0123456789")


def test_a_paraphrase_moves_its_group_unless_the_split_is_kept():
    first, second = paraphrased(300)
    before = table_of(first)
    split = split_table(before, **OPTIONS)
    grown = table_of([*first, *second])
    hashed = split_table(grown, **OPTIONS).parts[:300]
    assert 50 < (hashed != split.parts).sum() < 150  # half of the keys change, and of those their share moves
    after = split_table(grown, **OPTIONS, kept=saved(before, split))
    assert after.parts[:300].tolist() == split.parts.tolist()
    assert after.parts[300:].tolist() == split.parts.tolist()
    assert after.notes[0] == (
        "split.from: 300 prompts keep the part that they had in ridge-hashing-0123456789; of 300 new ones 300 go with "
        "a group known there and 0 are hashed"
    )


def test_nothing_added_is_the_same_split_and_strangers_are_hashed():
    first, strangers = paraphrased(200)[0], paraphrased(200, seed=1)[0]
    before = table_of(first)
    split = split_table(before, **OPTIONS)
    assert (
        split_table(before, **{**OPTIONS, "seed": 7}, kept=saved(before, split)).parts.tolist() == split.parts.tolist()
    )
    grown = table_of([*first, *strangers])
    after = split_table(grown, **OPTIONS, kept=saved(before, split))
    assert after.parts.tolist() == split_table(grown, **OPTIONS).parts.tolist()
    assert "200 are hashed" in after.notes[0]


def test_a_prompt_between_two_parts_is_left_out():
    head = " ".join(paraphrased(1)[0][0].split()[:12])
    texts = [f"{head} {i} " + " ".join(paraphrased(1, seed=i)[0][0].split()[:8]) for i in range(60)]
    before = table_of(texts, [f"g{i}" for i in range(60)])
    split = split_table(before, **{**OPTIONS, "near_duplicates": None})
    test, train = split.test[0], split.train[0]
    same = split.train[1]
    bridges = ["a bridge", "a bridge", "another", "another"]
    joined = [f"g{i}" for i in (*range(60), test, train, train, same, test)]
    grown = table_of([*texts, *bridges, "a friend"], joined)
    # the two bridges have equal texts: each joins the groups of both
    after = split_table(grown, **{**OPTIONS, "near_duplicates": None}, kept=saved(before, split))
    assert after.parts[:60].tolist() == split.parts.tolist()
    assert after.parts[60:].tolist() == ["unused"] * 4 + ["unused"]
    assert after.notes[1] == "split.from: 5 prompts were left out: they join prompts of different parts"


def test_a_group_is_known_though_its_prompts_are_gone():
    before = table_of([f"text {i}" for i in range(60)], ["g", "g", *[None] * 58])
    split = split_table(before, **OPTIONS)
    later = table_of([*(f"text {i}" for i in range(2, 60)), "new of the group"], [None] * 58 + ["g"])
    for seed in range(5):
        after = split_table(later, **{**OPTIONS, "seed": seed}, kept=saved(before, split))
        assert after.parts[-1] == split.parts[0]


letters = st.sampled_from("abcdefgh")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(letters, st.none() | st.sampled_from("uvw")), min_size=30, max_size=60),
    st.lists(st.tuples(st.sampled_from("abcmnop"), st.none() | st.sampled_from("uvwxyz")), min_size=1, max_size=20),
    st.sampled_from(["group", "prompt"]),
    st.sampled_from(["group", "prompt"]),
)
def test_no_prompt_of_the_run_moves_and_no_group_is_parted_anew(old, new, was, by):
    options = {"test": 0.4, "validation": 0.3}
    before = table_of([t for t, _ in old], [g for _, g in old])
    try:
        split = split_table(before, by=was, seed=0, **options)
    except ErpError:
        return  # few letters, so a part may be empty
    rows = [*old, *new]
    grown = table_of([t for t, _ in rows], [g for _, g in rows])
    after = split_table(grown, by=by, seed=1, **options, kept=saved(before, split)).parts
    assert after[: len(old)].tolist() == split.parts.tolist()
    texts = np.array([t for t, _ in rows])
    for text in set(texts):
        assert len(set(after[texts == text])) == 1
    if (was, by) == ("group", "group"):
        fresh = ~np.isin(texts, texts[: len(old)])
        keys = group_prompts(grown.prompts).keys
        for key in set(keys[fresh]):
            of_old = set(after[(keys == key) & ~fresh])
            of_new = set(after[(keys == key) & fresh])
            assert of_new == (of_old if len(of_old) == 1 else {"unused"}) if of_old else len(of_new) == 1


def test_calibration_is_taken_from_train_and_given_back():
    before = table_of([f"text {i}" for i in range(500)])
    split = split_table(before, **OPTIONS)
    with_one = split_table(before, **OPTIONS, calibration=0.2)
    drawn = split_table(before, **OPTIONS, calibration=0.2, kept=saved(before, split))
    assert drawn.parts.tolist() == with_one.parts.tolist()
    kept = split_table(before, **{**OPTIONS, "seed": 5}, calibration=0.2, kept=saved(before, with_one))
    assert kept.parts.tolist() == with_one.parts.tolist()
    assert split_table(before, **OPTIONS, kept=saved(before, with_one)).parts.tolist() == split.parts.tolist()


def test_a_run_on_another_table_is_no_split_to_keep():
    before = table_of([f"text {i}" for i in range(50)])
    kept = saved(before, split_table(before, **OPTIONS))
    with pytest.raises(ErpError, match=r"split.from = ridge-hashing-0123456789: the table has none of the prompts"):
        split_table(table_of([f"other {i}" for i in range(50)]), **OPTIONS, kept=kept)
