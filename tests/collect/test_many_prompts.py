"""A collection of many prompts: looked at some at a time, read where they are wanted, and the same in all."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import pandas as pd
import pyarrow.parquet
import pytest

from erp.collect.prompts import base
from erp.collect.store import Store
from tests.collect.commands import diary, samples

ODD = ["plain", 'a "quote" / \\ slash', "ünïcode \u2028 🙂", "two\nlines", "fifth"]


def source(tmp_path, texts):
    rows = [{"prompt": text, "category": None if i % 2 else "even"} for i, text in enumerate(texts)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("at_once", [1, 2, 5, 4096])
def test_the_hash_of_the_prompts_is_that_of_their_json(collect, tmp_path, monkeypatch, at_once):
    """Of tables that are there already, too: it is never another one."""
    monkeypatch.setattr(base, "AT_ONCE", at_once)
    source(tmp_path, ODD)
    assert collect()[0] == 0
    held = json.loads((tmp_path / "table/collect.json").read_text())["prompts"]
    frame = pd.read_parquet(tmp_path / "table/prompts.parquet")
    assert held == hashlib.sha256(frame.to_json(orient="split", index=False).encode()).hexdigest()
    assert held == "a0466ff497df7cd52fbeaab8fcc07ce99e5536b6456df500806163c83381bea1"


def test_prompts_are_added_and_corrected_some_at_a_time(collect, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "AT_ONCE", 2)
    source(tmp_path, ODD)
    assert collect()[0] == 0
    before, asked = samples(tmp_path), len(diary(tmp_path))
    texts = ["new", *reversed(ODD), "newer"]
    rows = [{"prompt": text, "category": "even" if text in ODD else None} for text in texts]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = collect()
    assert code == 0, err
    assert {entry[1] for entry in diary(tmp_path)[asked:]} == {"new", "newer"}
    after = samples(tmp_path)
    pd.testing.assert_frame_equal(after.merge(before[["prompt_id", "model", "sample"]])[before.columns], before)
    held = pd.read_parquet(tmp_path / "table/prompts.parquet")
    assert held["prompt"].tolist() == [*ODD, "new", "newer"]
    assert held["category"].tolist()[:5] == ["even"] * 5
    assert held["category"].isna().tolist()[5:] == [True, True]


def test_many_prompts_are_not_held_as_objects(collect, tmp_path):
    """40 MB of texts, read, hashed and planned: a frame holds them, outside Python's memory; once, no others do."""
    source(tmp_path, (f"{i} {'word ' * 400}" for i in range(20_000)))
    assert collect("dry_run=true", prompts=1)[0] == 0
    tracemalloc.start()
    try:
        assert collect("dry_run=true", prompts=1)[0] == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6


def test_rows_are_read_of_the_groups_that_hold_them(tmp_path):
    store = Store(str(tmp_path))
    frame = pd.DataFrame({"a": [f"text {i}" for i in range(10)], "b": [None, "x"] * 5, "c": range(10)}, dtype="str")
    store.write_frame("whole.parquet", frame, 3)
    store.write_frame("one.parquet", frame)
    for name in ("whole.parquet", "one.parquet"):
        assert store.count_rows(name) == 10
        for start in range(10):
            for stop in range(start + 1, 11):
                found = store.read_rows(name, slice(start, stop), ["a"], ["b", "none"])
                pd.testing.assert_frame_equal(found, frame.loc[start : stop - 1, ["a", "b"]].reset_index(drop=True))
    third = pyarrow.parquet.read_metadata(tmp_path / "whole.parquet").row_group(2).column(0)
    with (tmp_path / "whole.parquet").open("r+b") as stream:
        stream.seek(third.dictionary_page_offset)
        stream.write(b"\xff" * third.total_compressed_size)
    with pytest.raises((OSError, pyarrow.ArrowException)):
        store.read_rows("whole.parquet", slice(5, 7), ["a"])
    assert store.read_rows("whole.parquet", slice(2, 6), ["a"])["a"].tolist() == [f"text {i}" for i in range(2, 6)]


def test_what_is_scored_is_counted_and_not_read_again(collect, tmp_path, monkeypatch):
    """One block of four lacks its scores: of the others no response is looked at."""
    assert collect()[0] == 0
    whole = samples(tmp_path)
    rewards = tmp_path / "table/rewards/letters"
    for name in ("manifest.json", "part-00002.parquet"):
        (rewards / name).unlink()
    read, frame = [], Store.read_frame

    def noted(store, name, *more):
        read.append(name)
        return frame(store, name, *more)

    monkeypatch.setattr(Store, "read_frame", noted)
    code, out, err = collect("steps=[score]")
    assert code == 0, err
    assert "1 of 4 units scored" in out
    assert {name for name in read if name.startswith("samples/")} == {
        "samples/part-small-00002.parquet", "samples/part-org%2Fbig-00002.parquet",
    }  # fmt: skip
    pd.testing.assert_frame_equal(samples(tmp_path), whole)
