"""Pools: order, notes and faults."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from erp.errors import ErpError
from erp.table.read import read_table
from erp.table.select import select_members


@pytest.fixture
def table(tmp_path):
    frame = pd.DataFrame({
        "prompt_id": ["a", "a", "b", "c", "c", "c"], "prompt": ["x", "x", "y", "z", "z", "z"],
        "model": ["m1", "m2", "m3", "m1", "m2", "m3"], "reward": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "t.parquet")
    return read_table(tmp_path / "t.parquet")


def test_all_members_is_the_table_itself(table):
    assert select_members(table, None) is table
    assert table.notes == ("3 of 9 cells are missing",)


def test_order_of_names_is_kept_and_prompts_without_a_cell_are_dropped(table):
    pool = select_members(table, ["m2", "m1"])
    assert pool.members == ("m2", "m1")
    assert pool.prompts["prompt_id"].tolist() == ["a", "c"]
    assert pool.samples[["prompt", "member", "reward"]].to_numpy().tolist() == [
        [0, 0, 2],
        [0, 1, 1],
        [1, 0, 5],
        [1, 1, 4],
    ]
    assert pool.notes == ("1 of 3 prompts have no sample from the pool and were left out",)


def test_the_count_of_missing_cells_is_of_the_pool(table):
    assert select_members(table, ["m3", "m1"]).notes == ("2 of 6 cells are missing",)


def test_what_was_asked_of_conversations_stays_with_the_pool(table):
    assert select_members(replace(table, prompt_from="conversation"), ["m1"]).prompt_from == "conversation"


def test_faults_come_together(table):
    with pytest.raises(ErpError) as caught:
        select_members(table, ["m1", "m1", "m4"])
    assert "pool.members = m1: named twice" in caught.value.faults[0]
    assert "pool.members = m4: not in the table; its members are m1, m2, m3" in caught.value.faults[1]
    with pytest.raises(ErpError, match="no member"):
        select_members(table, [])
