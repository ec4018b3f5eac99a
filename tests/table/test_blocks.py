"""A table that is too large for memory is the table that it would be in memory: the same rows, hash and aggregates."""

from __future__ import annotations

import errno
import gc
import os

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.metrics.length import length_bias
from erp.table.labels import limit_labels
from erp.table.read import read_table
from erp.table.samples import padded_samples, separate_samples
from erp.table.select import select_members
from erp.table.splits import split_table
from erp.table.synthetic import Synthetic
from erp.table.write import write_table
from erp.targets import expected_reward, split_half_oracle
from tests.integration.tables import long_frame


@pytest.fixture
def small_blocks(monkeypatch):
    """A block is 40 samples, a partition 16 prompts, and memory holds next to nothing."""

    def shrink():
        for name, value in {
            "erp.table.partitions.PROMPTS": 16, "erp.table.partitions.BLOCK_ROWS": 40,
            "erp.table.partitions.KEPT_BYTES": 100, "erp.table.store.MAPPED_ROWS": 10,
            "erp.table.schema.MAPPED_ROWS": 10, "erp.table.store.BLOCK_ROWS": 40,
        }.items():  # fmt: skip
            monkeypatch.setattr(name, value)

    return shrink


def frame() -> pd.DataFrame:
    return long_frame(prompts=90, samples=3, missing=0.1).sample(frac=1, random_state=0)


def same(first, second):
    pd.testing.assert_frame_equal(first.prompts, second.prompts)
    pd.testing.assert_frame_equal(first.samples, second.samples, check_dtype=False, check_exact=True)
    assert first.fingerprint() == second.fingerprint()
    assert (first.members, first.notes, first.suspects) == (second.members, second.notes, second.suspects)
    for name in ("mean", "count", "variance", "standard_error"):
        np.testing.assert_array_equal(getattr(expected_reward(first), name), getattr(expected_reward(second), name))


def parts(rows: pd.DataFrame, folder, count=4):
    folder.mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(rows)), count)):
        rows.iloc[part].to_parquet(folder / f"part-{i}.parquet", row_group_size=17)
    return folder


@pytest.mark.parametrize("dropped", [[], ["sample"], ["prompt_id", "sample"], ["category", "cost_usd"]])
def test_files_in_parts(tmp_path, small_blocks, dropped):
    rows = frame().drop(columns=dropped)
    folder = parts(rows, tmp_path / "t")
    whole = read_table(folder)
    small_blocks()
    same(whole, read_table(folder))


def test_a_csv_with_responses_and_unknown_lengths(tmp_path, small_blocks):
    rows = frame().assign(response=lambda f: f["reward"].astype(str), completion_tokens=-1)
    rows.to_csv(tmp_path / "t.csv", index=False)
    whole = read_table(tmp_path / "t.csv")
    assert any("estimated as characters / 4" in note for note in whole.notes)
    small_blocks()
    same(whole, read_table(tmp_path / "t.csv"))


def test_samples_are_suspected_the_same_where_only_some_prompts_have_responses(tmp_path, small_blocks):
    """Of a table with responses only these tell; a block without any has none to tell by."""
    rows = frame().sort_values(["prompt_id", "model", "sample"])
    some = rows["prompt_id"] < "synthetic-0000050"
    rows["response"] = np.where(some, "the same answer", None)
    rows.to_parquet(tmp_path / "t.parquet", row_group_size=50)
    whole = read_table(tmp_path / "t.parquet")
    assert set(whole.suspects) == set(whole.members)
    small_blocks()
    same(whole, read_table(tmp_path / "t.parquet"))


@pytest.mark.parametrize("edit", ["nothing", "unscored", "moved"])
def test_a_collected_folder(tmp_path, small_blocks, edit):
    write_table(Synthetic(prompts=90, members=3, samples=3, missing=0.1).draw()[0], tmp_path / "t")
    (scores,) = (tmp_path / "t" / "rewards").iterdir()
    rewards = pd.read_parquet(scores / "part-00000.parquet")
    rewards = rewards.iloc[::2] if edit == "unscored" else rewards
    rewards = rewards.sample(frac=1, random_state=0) if edit == "moved" else rewards
    rewards.iloc[:100].to_parquet(scores / "part-00000.parquet", index=False)
    rewards.iloc[100:].to_parquet(scores / "part-00001.parquet", index=False)
    whole = read_table(tmp_path / "t")
    small_blocks()
    same(whole, read_table(tmp_path / "t"))


def test_the_hash_does_not_depend_on_blocks(tmp_path, small_blocks, monkeypatch):
    frame().to_parquet(tmp_path / "t.parquet")
    small_blocks()
    monkeypatch.setattr("erp.table.schema.PROMPTS", 32)
    table = read_table(tmp_path / "t.parquet")
    before = table.fingerprint()
    monkeypatch.setattr("erp.table.store.BLOCK_ROWS", 7)
    assert table.fingerprint() == before
    table.samples.loc[5, "reward"] += 1
    assert table.fingerprint() != before


def test_copies_are_folded(tmp_path, small_blocks):
    rows = frame().drop(columns="sample")
    pd.concat([rows, rows]).to_parquet(tmp_path / "t.parquet", row_group_size=50)
    whole = read_table(tmp_path / "t.parquet", copies="fold")
    assert len(whole.samples) == len(rows)
    small_blocks()
    again = read_table(tmp_path / "t.parquet", copies="fold")
    same(whole, again)


def test_what_is_read_of_single_samples(tmp_path, small_blocks):
    frame().to_parquet(tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet")
    small_blocks()
    table = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(padded_samples(table), padded_samples(whole))
    asked = np.array([50, 3, 7, 60])
    for one, other in zip(
        vars(separate_samples(table, asked)).values(), vars(separate_samples(whole, asked)).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    every = np.arange(len(whole.prompts))
    assert split_half_oracle(table, every).mean == split_half_oracle(whole, every).mean
    names = whole.members[::-2]
    same(select_members(whole, names), select_members(table, names))


@pytest.mark.parametrize("samples", [None, 2])
def test_labels_are_drawn_the_same(tmp_path, small_blocks, samples):
    frame().to_parquet(tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet")
    split = split_table(whole, by="group", seed=1, test=0.5, validation=0.2)
    limited = limit_labels(whole, split, prompts=40, samples=samples, seed=0)[0]
    small_blocks()
    table = read_table(tmp_path / "t.parquet")
    same(limited, limit_labels(table, split, prompts=40, samples=samples, seed=0)[0])


def test_faults_name_the_same_rows(tmp_path, small_blocks):
    rows = frame().astype({"reward": object}).reset_index(drop=True)
    rows.loc[[30, 200], "reward"] = "good"
    rows.loc[41, "category"] = "other"
    rows = pd.concat([rows, rows.iloc[[77]]])
    rows["reward"] = rows["reward"].astype(str)
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ErpError) as caught:
        read_table(tmp_path / "t.csv")
    small_blocks()
    with pytest.raises(ErpError) as again:
        read_table(tmp_path / "t.csv")
    assert again.value.faults == caught.value.faults
    assert len(caught.value.faults) == 4
    assert f"rows 77 and {len(rows) - 1}, columns prompt_id, model, sample" in caught.value.faults[2]


def test_length_is_weighed_the_same(tmp_path, small_blocks):
    frame().to_parquet(tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet")
    asked = np.random.default_rng(0).permutation(len(whole.prompts))[:60]
    expected = length_bias(whole, asked, asked % 20, draws=200)
    small_blocks()
    found = length_bias(read_table(tmp_path / "t.parquet"), asked, asked % 20, draws=200)
    assert (found.samples, found.cells) == (expected.samples, expected.cells)
    for one, other in ((found.between, expected.between), (found.within, expected.within)):
        assert [one.mean, one.low, one.high] == pytest.approx([other.mean, other.low, other.high], abs=1e-12)


def test_counts_of_any_size_are_kept(tmp_path, small_blocks):
    """They were cut to 32 bits where a table is mapped."""
    frame().assign(n_samples=2**40 + 1).to_parquet(tmp_path / "t.parquet")
    small_blocks()
    assert (read_table(tmp_path / "t.parquet").samples["n_samples"] == 2**40 + 1).all()


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, small_blocks, monkeypatch, recwarn):
    frame().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "own").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "own"))
    small_blocks()
    read_table(tmp_path / "t.parquet")
    gc.collect()
    assert not list((tmp_path / "own").iterdir())
    assert not recwarn.list


@pytest.mark.parametrize("where", ["erp.table.partitions.KEPT_BYTES", "erp.table.store.MAPPED_ROWS"])
def test_no_folder_for_what_memory_does_not_hold(tmp_path, monkeypatch, where):
    frame().to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(where, 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(
        ErpError, match=r"^TMPDIR = .*gone: rows of a table that memory does not hold cannot be written"
    ):
        read_table(tmp_path / "t.parquet")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room")
def test_a_disk_without_room_is_told_before_it_is_written_to(tmp_path, monkeypatch):
    """Writing to a map that the disk has no room for would kill the process."""
    frame().to_parquet(tmp_path / "t.parquet")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("erp.table.store.MAPPED_ROWS", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ErpError, match=r"^TMPDIR = .*No space left.*room for them$"):
        read_table(tmp_path / "t.parquet")


def test_a_damaged_part_is_named(tmp_path):
    """The part before it was."""
    write_table(Synthetic(prompts=90, members=3, samples=3).draw()[0], tmp_path / "t")
    part = tmp_path / "t" / "samples" / "part-00000.parquet"
    raw = bytearray(part.read_bytes())
    raw[4:200] = bytes(196)
    part.with_name("part-00001.parquet").write_bytes(raw)
    with pytest.raises(ErpError, match=r"part-00001.parquet: the file cannot be read \(.*\); collect again$"):
        read_table(tmp_path / "t")


def test_texts_without_a_sample_are_not_counted_among_those_that_look_alike(tmp_path):
    write_table(Synthetic(prompts=9, members=3).draw()[0], tmp_path / "t")
    prompts = pd.read_parquet(tmp_path / "t" / "prompts.parquet")
    more = prompts.assign(prompt_id=prompts["prompt_id"] + "x", prompt=prompts["prompt"].str.upper())
    pd.concat([prompts, more]).to_parquet(tmp_path / "t" / "prompts.parquet", index=False)
    notes = read_table(tmp_path / "t").notes
    assert any("9 of 18 prompts have no sample" in note for note in notes)
    assert not any("differ from another" in note for note in notes)
