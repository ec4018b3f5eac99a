"""Leave one category out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erp.config import validate
from erp.errors import ErpError
from erp.table.schema import PROMPT_COLUMNS, RewardTable
from erp.table.splits import split_table

EMPTY = pd.DataFrame({"prompt": [], "member": [], "sample": [], "reward": []})
PARTS = ("train", "validation", "calibration", "test")


def table_of(categories, texts=None, groups=None) -> RewardTable:
    count = len(categories)
    texts = [f"prompt {i}" for i in range(count)] if texts is None else texts
    own = {"prompt": texts, "group": groups, "category": categories, "prompt_id": [f"p{i}" for i in range(count)]}
    frame = pd.DataFrame({c: [None] * count if own.get(c) is None else own[c] for c in PROMPT_COLUMNS}, dtype=object)
    return RewardTable(frame, EMPTY, ("m",), "reward")


def left_out(table, category, **options):
    settings = {"seed": 0, "test": 0.5, "validation": 0.2, **options}
    return split_table(table, by="category", category=category, **settings)


def test_the_category_is_the_test_part_and_the_rest_is_hashed():
    categories = ["math", "code", "chat, and more", None] * 250
    table = table_of(categories)
    split = left_out(table, "chat, and more")
    assert split.test.tolist() == list(range(2, 1000, 4))
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(1000))
    assert 100 < len(split.validation) < 200  # 150 expected
    assert split.notes == ()
    # a prompt is validated whichever category is left out
    other = left_out(table, "math")
    both = np.array([value in ("code", None) for value in categories])
    assert set(split.validation[both[split.validation]]) == set(other.validation[both[other.validation]])
    # the share of test is not used, and a seed is another draw of validation
    assert np.array_equal(left_out(table, "math", test=0.99).validation, other.validation)
    assert not np.array_equal(left_out(table, "math", seed=1).validation, other.validation)
    calibrated = left_out(table, "math", calibration=0.2)
    assert np.array_equal(calibrated.validation, other.validation)
    assert np.isin(calibrated.calibration, other.train).all()
    assert len(calibrated.calibration) > 100


def test_prompts_of_a_group_with_the_category_are_dropped():
    base = "the quick brown fox jumps over the lazy dog while seven wizards quietly brew a large pot of green tea today"
    categories = ["code"] * 50 + ["math"] * 3
    texts = [f"prompt {i} {'x' * i}" for i in range(50)] + [base, "Repeated", "third"]
    texts[4] = base.replace("seven", "eight")
    texts[5] = " repeated "
    groups = [None] * 53
    groups[6] = groups[52] = "g"
    split = left_out(table_of(categories, texts, groups), "math", near_duplicates=0.8)
    assert split.test.tolist() == [50, 51, 52]
    assert sorted([*split.train, *split.validation]) == [0, 1, 2, 3, *range(7, 50)]
    assert split.notes[0] == "dropped for sharing a group with the category left out: 3 prompts"
    assert split.notes[1].startswith("near-duplicates (similarity 0.8 or more): 2 prompts in 1 groups")
    # without near-duplicates the rephrased one stays
    split = left_out(table_of(categories, texts, groups), "math")
    assert 4 in [*split.train, *split.validation]
    assert split.notes == ("dropped for sharing a group with the category left out: 2 prompts",)


def test_a_category_that_cannot_be_left_out():
    table = table_of(["math", "code"] * 20)
    with pytest.raises(ErpError, match=r"^split.category = maths: not in the table; allowed are code, math; correct"):
        left_out(table, "maths")
    with pytest.raises(ErpError, match=r"^split.category = None: not in the table; allowed are code, math"):
        left_out(table, None)
    with pytest.raises(ErpError, match=r"^split.category = math: every prompt of the table is of it"):
        left_out(table_of(["math"] * 9), "math")
    with pytest.raises(ErpError, match=r"^split.by = category: the table has no categories; add .* split.by=group$"):
        left_out(table_of([None] * 9), "math")
    with pytest.raises(ErpError, match=r"^split.by = category: no prompt in validation .*raise split.validation"):
        left_out(table_of(["math", "code"]), "math", validation=1e-9)
    with pytest.raises(ErpError, match=r"^split.validation \+ split.calibration = 1.1: leaves no train prompts"):
        left_out(table, "math", validation=0.6, calibration=0.5)
    # all others are of one group with it
    with pytest.raises(ErpError, match=r"^split.by = category: no prompt in train, validation"):
        left_out(table_of(["math", "code", "code"], groups=["g"] * 3), "math")


PLUG = {"_target_": "erp.routers.ridge.Ridge"}
WHOLE = {
    "data": PLUG, "reward_model": {}, "pool": {}, "backbone": PLUG, "router": PLUG, "policy": PLUG,
    "cost": {}, "trainer": {}, "tracking": {},
}  # fmt: skip


def split_of(**keys):
    return validate("train", {**WHOLE, "split": keys}).split


def test_category_and_by_category_go_together_in_a_config():
    assert split_of(by="category", category="math, hard").category == "math, hard"
    assert split_of(by="category", category=2024).category == "2024"
    assert split_of().category is None
    with pytest.raises(ErpError) as caught:
        split_of(by="category")
    (line,) = caught.value.faults
    assert line.startswith("split.category = None: split.by = category leaves one category out; say which with")
    with pytest.raises(ErpError) as caught:
        split_of(category="math")
    (line,) = caught.value.faults
    assert line.startswith("split.category = math: is read with split.by=category only, and split.by is group")
    with pytest.raises(ErpError) as caught:
        split_of(by="chance", category="math")
    (line,) = caught.value.faults
    assert line.startswith("split.by = chance: ")


@pytest.mark.parametrize(("value", "words"), [(0, "greater than 0"), (1.5, "less than or equal to 1"), ("x", "number")])
def test_the_similarity_of_near_duplicates_is_above_0_and_up_to_1(value, words):
    assert split_of().near_duplicates == 0.8
    assert split_of(near_duplicates=None).near_duplicates is None
    assert split_of(near_duplicates=1).near_duplicates == 1
    with pytest.raises(ErpError) as caught:
        split_of(near_duplicates=value)
    (line,) = caught.value.faults
    assert line.startswith(f"split.near_duplicates = {value}: ")
    assert words in line
