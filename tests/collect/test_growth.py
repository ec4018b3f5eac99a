"""A table grows: more prompts, more samples of each. What is there stays, and only the rest is asked for."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from erp import cli
from erp.collect.growth import block_of
from erp.collect.store import Store
from erp.collect.units import Blocks
from erp.table.read import read_table
from tests.collect.commands import command, diary, samples
from tests.collect.fakes import Letters


def grown(tmp_path, prompts):
    """The prompts' file with others in front of and among those that were there."""
    file = tmp_path / "prompts.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    new = [{"prompt_id": f"n{i}", "prompt": f"new {i}", "category": "odd"} for i in range(prompts)]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*new, *reversed(rows)]))


def test_prompts_are_added_and_only_they_are_asked(collect, tmp_path):
    assert collect()[0] == 0
    before, asked = samples(tmp_path), len(diary(tmp_path))
    parts = {p.name: p.read_bytes() for p in (tmp_path / "table/samples").glob("part-*")}
    grown(tmp_path, 3)
    _, out, _ = collect("dry_run=true")
    assert "10 prompts x 2 members x 3 samples = 60 responses; 4 of 12 units left" in out
    code, out, err = collect()
    assert code == 0, err
    assert sorted({entry[1] for entry in diary(tmp_path)[asked:]}) == ["new 0", "new 1", "new 2"]
    after = samples(tmp_path)
    assert after["reward"].notna().all()
    old = after[~after["prompt_id"].str.startswith("n")].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before)
    assert all((tmp_path / "table/samples" / name).read_bytes() == content for name, content in parts.items())
    assert len(read_table(tmp_path / "table").prompts) == 10
    assert "already" in collect()[1]
    grown(tmp_path, 4)  # n3 is new
    assert collect()[0] == 0
    assert len(read_table(tmp_path / "table").prompts) == 11


def test_more_samples_of_every_prompt(collect, tmp_path):
    assert collect("k=2", "engine.fail=[bread]", "max_failed=1", "retries=0")[0] == 0
    before = samples(tmp_path, None)
    (tmp_path / "mended").touch()
    _, out, _ = collect("k=5", "dry_run=true")
    assert "70 responses; 8 of 8 units left" in out
    code, out, err = collect("k=5")
    assert code == 0, err
    whole = tmp_path / "whole"
    whole.mkdir()
    cli.main(command(whole, "k=5"))
    pd.testing.assert_frame_equal(samples(tmp_path), samples(whole))
    kept = samples(tmp_path, None).merge(before, on=["prompt_id", "model", "sample"], suffixes=("", "_before"))
    assert len(kept) == len(before)
    assert (kept["response"] == kept["response_before"]).all()
    assert "already" in collect("k=5")[1]
    code, _, err = collect("k=3")
    assert code == 2
    assert "k = 3: the table has k = 5" in err


def test_the_plan_of_more_samples_counts_those_alone(collect):
    """2 tokens of a prompt, 7 prompts, a USD each."""
    member = "pool.members=[{name: small, input_usd_per_mtok: 1.0e+6, output_usd_per_mtok: 0}]"
    assert " 42.00 " in collect(member, "dry_run=true")[1]
    assert collect(member, "k=2", "steps=[sample]")[0] == 0
    assert " 14.00 " in collect(member, "dry_run=true")[1]


def test_a_prompt_that_is_gone_or_another_is_refused_by_name(collect, tmp_path):
    assert collect()[0] == 0
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[1:]))
    code, _, err = collect()
    assert code == 2
    assert "1 of the table's are not what they were, or are not there: p0" in err


def test_killed_while_prompts_are_added(collect, tmp_path):
    """The prompts are written before what counts them."""
    assert collect()[0] == 0
    settings = (tmp_path / "table/collect.json").read_text()
    grown(tmp_path, 2)
    assert collect("steps=[sample]")[0] == 0
    (tmp_path / "table/collect.json").write_text(settings)
    (tmp_path / "table/manifest.json").unlink()
    assert collect()[0] == 0
    assert len(samples(tmp_path)) == 9 * 2 * 3


@pytest.mark.parametrize(("prompts", "block"), [(1, 32), (32_000, 32), (100_000, 100), (1_420_909, 512)])
def test_blocks_of_large_tables_are_large(prompts, block):
    assert block_of(prompts) == block


def test_an_addition_begins_a_block_of_its_own():
    blocks = Blocks(3, (7, 2, 4))
    places = [list(range(13))[rows] for rows in blocks.rows]
    assert places == [[0, 1, 2], [3, 4, 5], [6], [7, 8], [9, 10, 11], [12]]
    assert [blocks.held_by(i) for i in range(6)] == [3, 3, 1, 2, 3, 1]
    assert blocks.prompts == 13


def test_prompts_are_added_to_a_collection_of_an_older_erp(collect, tmp_path):
    """It does not say how many prompts came at a time: all did. A full block keeps its prompts."""
    assert collect()[0] == 0
    file = tmp_path / "table/collect.json"
    settings = json.loads(file.read_text())
    del settings["added"]
    file.write_text(json.dumps(settings))
    grown(tmp_path, 2)
    assert collect()[0] == 0
    assert len(samples(tmp_path)) == 9 * 2 * 3


def test_scoring_alone_adds_no_prompts(collect, tmp_path):
    assert collect()[0] == 0
    before = (tmp_path / "table/collect.json").read_bytes()
    grown(tmp_path, 1)
    code, _, err = collect("steps=[score]")
    assert code == 2
    assert "prompts: 1 are not in the table: n0" in err
    assert (tmp_path / "table/collect.json").read_bytes() == before
    assert (tmp_path / "table/manifest.json").exists()


def test_more_samples_of_some_members_are_no_finished_table(collect, tmp_path):
    assert collect("k=2")[0] == 0
    code, out, _ = collect("k=3", "steps=[sample]", "pool.members=[{name: small}]")
    assert code == 0
    assert "unfinished: org/big" in out
    assert not (tmp_path / "table/manifest.json").exists()
    assert collect("k=3")[0] == 0
    assert len(samples(tmp_path)) == 7 * 2 * 3


def told_and_scored_the_next_time(collect, tmp_path):
    code, _, err = collect()
    assert code == 2
    assert "more was sampled" in err
    assert collect()[0] == 0
    assert samples(tmp_path)["reward"].notna().all()
    assert len(samples(tmp_path)) == 9 * 2 * 3


def test_prompts_added_while_scores_are_computed_are_scored_too(collect, tmp_path, monkeypatch):
    """Two reward models do not wait for each other, nor does sampling for them."""
    score = Letters.score

    def and_meanwhile(self, pairs):
        monkeypatch.setattr(Letters, "score", score)
        grown(tmp_path, 2)
        assert cli.main(command(tmp_path, "steps=[sample]")) == 0
        return score(self, pairs)

    monkeypatch.setattr(Letters, "score", and_meanwhile)
    told_and_scored_the_next_time(collect, tmp_path)


def test_prompts_added_while_the_scores_are_called_whole_are_scored_too(collect, tmp_path, monkeypatch):
    """What a reward model says of its scores is asked when all is done but the last file."""

    def and_meanwhile(self, counts, scored):
        monkeypatch.undo()
        grown(tmp_path, 2)
        assert cli.main(command(tmp_path, "steps=[sample]")) == 0
        return []

    monkeypatch.setattr(Letters, "notes", and_meanwhile)
    told_and_scored_the_next_time(collect, tmp_path)


VERIFIER = ["reward_model=verifier_exact", "engine.says='Answer: apple'", "k=1"]


def corrected(tmp_path, column, values):
    """The prompts' file with other values of a column: of every prompt, by its number."""
    file = tmp_path / "prompts.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [{**row, column: values.get(row["prompt_id"], row.get(column))} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def means(tmp_path, reward_model):
    parts = (tmp_path / "table/rewards" / reward_model).glob("part-*")
    return pd.concat([pd.read_parquet(part) for part in parts]).groupby("prompt_id")["reward"].mean().to_dict()


def test_corrected_references_take_scores_of_another_name(collect, tmp_path):
    command(tmp_path)  # writes the prompts
    ids = [f"p{i}" for i in range(7)]
    corrected(tmp_path, "reference", dict.fromkeys(ids, "bread"))
    assert collect(*VERIFIER)[0] == 0
    assert collect("engine.says='Answer: apple'", "k=1", "steps=[score]")[0] == 0  # letters reads no references
    asked, scored = len(diary(tmp_path)), len(diary(tmp_path, "scored"))
    corrected(tmp_path, "reference", {"p0": "apple"})
    code, _, err = collect(*VERIFIER)
    assert code == 2
    assert "reward_model.name = verifier_exact: its scores are by references that were corrected since" in err
    assert "reward_model.name=verifier_exact_2" in err
    assert err.count("\n") == 1
    code, _, err = collect(*VERIFIER, "reward_model.name=verifier_exact_2")
    assert code == 0, err
    code, out, err = collect("engine.says='Answer: apple'", "k=1")
    assert code == 0, err
    assert out.count("already") == 2
    assert (len(diary(tmp_path)), len(diary(tmp_path, "scored"))) == (asked, scored)
    assert means(tmp_path, "verifier_exact") == dict.fromkeys(ids, 0.0)
    assert means(tmp_path, "verifier_exact_2") == {**dict.fromkeys(ids, 0.0), "p0": 1.0}
    held = read_table(tmp_path / "table", reward_model="verifier_exact_2").prompts
    assert held["reference"].tolist() == ['{"answer": "apple"}', *['{"answer": "bread"}'] * 6]


def test_corrected_references_by_scoring_alone_and_killed_before_the_prompts_are_written(
    collect, tmp_path, monkeypatch
):
    command(tmp_path)
    corrected(tmp_path, "reference", dict.fromkeys([f"p{i}" for i in range(7)], "bread"))
    assert collect(*VERIFIER)[0] == 0
    corrected(tmp_path, "reference", {"p1": "apple"})
    write = Store.write_frame

    def killed(self, name, frame, *more):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_frame", killed)
    assert collect(*VERIFIER, "steps=[score]")[0] != 0
    monkeypatch.setattr(Store, "write_frame", write)
    assert "were corrected since" in collect(*VERIFIER, "steps=[score]")[2]
    assert collect(*VERIFIER, "steps=[score]", "reward_model.name=mended")[0] == 0
    assert means(tmp_path, "mended")["p1"] == 1.0


def test_corrected_categories_are_the_tables(collect, tmp_path):
    assert collect()[0] == 0
    asked, before = len(diary(tmp_path)), samples(tmp_path)
    corrected(tmp_path, "category", {"p1": "fruit", "p6": "fruit"})
    code, _, err = collect()
    assert code == 0, err
    assert len(diary(tmp_path)) == asked
    pd.testing.assert_frame_equal(samples(tmp_path), before)
    held = read_table(tmp_path / "table").prompts["category"].tolist()
    assert held == ["even", "fruit", "even", "odd", "even", "odd", "fruit"]
    manifest = json.loads((tmp_path / "table/manifest.json").read_text())
    assert manifest["settings"]["prompts"] == json.loads((tmp_path / "table/collect.json").read_text())["prompts"]


@pytest.mark.parametrize("column", ["category", "reference", "group"])
def test_what_is_gone_or_no_correction_is_refused_by_name(collect, tmp_path, column):
    command(tmp_path)
    corrected(tmp_path, column, {"p1": "a", "p2": "b"})
    assert collect()[0] == 0
    corrected(tmp_path, column, {"p1": "c" if column == "group" else None})
    code, _, err = collect()
    assert code == 2
    assert "1 of the table's are not what they were, or are not there: p1" in err
