"""What a run knows of a table: its own parts of its own prompts, and what it has not seen of others."""

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.table.known import same_split, unseen_split
from erp.table.read import read_table
from erp.table.splits import split_table
from erp.table.texts import text_key


@pytest.fixture
def table(tmp_path):
    """A table of these prompts, one group each unless it is said; one member, one reward."""

    def make(prompts, groups=None):
        frame = pd.DataFrame({"prompt": prompts, "prompt_id": prompts, "model": "a", "reward": 1.0})
        if groups is not None:
            frame["group"] = groups
        frame.to_parquet(tmp_path / "t.parquet")
        return read_table(tmp_path / "t.parquet")

    return make


def ids(table, rows):
    return table.prompts["prompt_id"].iloc[rows].tolist()


def saved(**parts):
    """What a run's folder keeps of prompts named by their part."""
    rows = [(name, part.rstrip("_")) for part, names in parts.items() for name in names]
    frame = pd.DataFrame(rows, columns=["prompt_id", "split"])
    keys = frame["prompt_id"].map(text_key)
    return frame.assign(text_key=keys, group_key=[f"text:{key}" for key in keys])


def test_a_split_that_was_kept_is_found_again(table):
    whole = table([f"prompt {i}" for i in range(60)])
    split = split_table(whole, by="group", seed=1, test=0.5, validation=0.2, calibration=0.1)
    for found in (same_split, unseen_split):
        again = found(split.frame(whole.prompts), whole, None)
        for part in ("train", "validation", "calibration", "test", "groups", "keys", "texts", "parts"):
            np.testing.assert_array_equal(getattr(again, part), getattr(split, part), err_msg=part)
        assert again.notes == ()
    assert ids(whole, split.learnt) == sorted(ids(whole, np.concatenate([split.train, split.validation])))


def test_prompts_that_a_run_does_not_know_are_in_no_part_of_its_own_split(table):
    known = saved(train=["a", "b"], validation=["c"], test=["d"])
    split = same_split(known, table(["a", "b", "c", "d", "e"]), None)
    assert list(split.parts) == ["train", "train", "validation", "test", "unused"]
    assert split.notes == ("1 prompts of the table are not of the run and were left out",)
    with pytest.raises(ErpError, match="none of the prompts that the run learnt from, or none of those it is tested"):
        same_split(known, table(["a", "b", "e"]), None)


def test_what_was_learnt_from_is_left_out_with_its_group(table):
    """A text that was learnt from takes what shares a group with it along, here or in the run."""
    known = saved(train=["a"], validation=["b"], calibration=["c"], test=["d"])
    known.loc[known["prompt_id"] == "d", "group_key"] = known["group_key"].iloc[0]  # d was in a's group
    other = table(["A ", "b", "c", "d", "e", "f", "g"], groups=[None, "one", None, None, "one", None, None])
    split = unseen_split(known, other, None)
    assert ids(other, split.test) == ["f", "g"]
    assert not len(split.learnt)
    assert split.notes == ("5 prompts were left out: the router learnt from their texts or groups",)
    with pytest.raises(ErpError, match="learnt from every prompt of this table"):
        unseen_split(known, table(["a", "b", "d "]), None)
