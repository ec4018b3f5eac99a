"""A score belongs to the text it was given for: of another one it is asked again, and never read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pandas as pd
import pytest

from erp import cli
from erp.errors import ErpError
from erp.table.read import read_table
from tests.collect.commands import diary, samples


def edit(folder, prompt_id="p0", text="aaa", number=0):
    """Give a response another text, as a tool of somebody's would."""
    part = folder / "table/samples/part-small-00000.parquet"
    frame = pd.read_parquet(part)
    frame.loc[(frame["prompt_id"] == prompt_id) & (frame["sample"] == number), "response"] = text
    frame.to_parquet(part, index=False)


def letters(folder):
    rows = samples(folder)
    return rows["response"].str.count("a").tolist(), rows["reward"].tolist()


def test_a_response_that_was_edited_is_scored_again_and_alone(collect, tmp_path):
    assert collect()[0] == 0
    scored = len(diary(tmp_path, "scored"))
    edit(tmp_path)
    code, out, _ = collect("steps=[score]")
    assert code == 0
    assert "note: 1 scores by letters were of responses that have changed; they were asked again" in out
    assert [text for _, text in diary(tmp_path, "scored")[scored:]] == ["aaa"]
    counted, rewards = letters(tmp_path)
    assert rewards == counted
    assert len(read_table(tmp_path / "table").samples) == 7 * 2 * 3
    code, out, _ = collect("steps=[score]")
    assert "already" in out
    assert "note: 1 scores" not in out


def test_responses_that_were_sampled_again_are_scored_again(collect, tmp_path):
    assert collect()[0] == 0
    before, old = samples(tmp_path), tmp_path / "table/samples/part-small-00001.parquet"
    old.unlink()
    settings = json.loads((tmp_path / "table/collect.json").read_text())
    settings["members"]["small"]["engine"]["voice"] = "another"
    (tmp_path / "table/collect.json").write_text(json.dumps(settings))
    member = "pool.members=[{name: small, engine: {voice: another}}, {name: org/big}]"
    code, out, err = collect(member)
    assert code == 0, err
    after = samples(tmp_path)
    changed = int((after["response"] != before["response"]).sum())
    assert changed >= 5
    assert f"note: {changed} scores by letters were of responses that have changed" in out
    counted, rewards = letters(tmp_path)
    assert rewards == counted


def test_scores_of_other_texts_are_not_read(collect, tmp_path, capsys):
    assert collect()[0] == 0
    edit(tmp_path)
    edit(tmp_path, "p1")
    told = r"2 scores by letters are of other responses than its samples hold, the first is \(p0, small, 0\)"
    with pytest.raises(ErpError, match=told):
        read_table(tmp_path / "table")
    assert cli.main(["show", "data=table", f"data.path={tmp_path / 'table'}"]) == 2
    assert "score them: the same erp collect with steps=[score]" in capsys.readouterr().err


def test_the_hash_is_the_texts_and_a_copy_of_the_table_is_read(collect, tmp_path):
    assert collect()[0] == 0
    row = samples(tmp_path).iloc[0]
    assert row["response_hash"] == hashlib.sha256(row["response"].encode()).hexdigest()[:16]
    shutil.copytree(tmp_path / "table", tmp_path / "copy", copy_function=shutil.copyfile)
    for part in (tmp_path / "copy/samples").iterdir():
        os.utime(part)
    assert read_table(tmp_path / "copy").fingerprint() == read_table(tmp_path / "table").fingerprint()


def test_scores_of_an_older_erp_are_believed_and_others_join_them(collect, tmp_path):
    """They have no hash."""
    assert collect("k=2")[0] == 0
    for part in (tmp_path / "table/rewards/letters").glob("part-*"):
        pd.read_parquet(part).drop(columns="response_hash").to_parquet(part, index=False)
    edit(tmp_path)
    assert len(read_table(tmp_path / "table").samples) == 7 * 2 * 2
    assert "already" in collect("k=2", "steps=[score]")[1]
    assert collect()[0] == 0
    hashes = samples(tmp_path).groupby("sample")["response_hash"].count()
    assert hashes.tolist() == [0, 0, 14]
    edit(tmp_path, text="bb", number=2)
    assert "note: 1 scores by letters" in collect("steps=[score]")[1]
