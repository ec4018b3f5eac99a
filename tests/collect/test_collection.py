import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from erp import cli
from erp.collect.store import Store
from erp.errors import ErpError
from erp.table.read import read_table
from tests.collect.commands import command, diary, samples


def test_the_table_holds_every_response_and_reward_once(collect, tmp_path):
    code, out, _ = collect()
    assert code == 0
    rows = samples(tmp_path)
    assert len(rows) == 7 * 2 * 3
    assert not rows.duplicated(["prompt_id", "model", "sample"]).any()
    assert (rows["reward"] == rows["response"].str.count("a")).all()
    assert rows["completion_tokens"].tolist() == rows["response"].str.len().tolist()
    assert rows["finish_reason"].eq("stop").all()
    assert "8 of 8 units sampled, 0 failed prompts" in out
    assert "4 of 4 units scored by letters" in out
    means = rows.groupby("model")["reward"].mean()
    assert f"org/big  mean {means['org/big']:.4f}" in out
    assert "erp describe data=table" in out


def test_learning_reads_the_table(collect, tmp_path, capsys):
    collect(members="[{name: small, active_parameters: 1e9}, {name: org/big, active_parameters: 5e9}]")
    table = read_table(tmp_path / "table")
    assert table.members == ("org/big", "small")
    assert table.has_categories
    assert table.facts["org/big"] == {"active_parameters": 5e9}
    assert cli.main(["describe", "data=table", f"data.path={tmp_path / 'table'}"]) == 0
    assert "7 prompts x 2 members, K = 3, reward model letters" in capsys.readouterr().out


def test_every_sample_has_its_own_seed_which_does_not_depend_on_what_else_is_collected(collect, tmp_path):
    collect()
    seeds = samples(tmp_path)["seed"]
    assert seeds.is_unique
    alone = tmp_path / "alone"
    alone.mkdir()
    cli.main(command(alone, "block=5", prompts=3, members="[small]"))
    both = samples(alone).merge(samples(tmp_path), on=["prompt_id", "model", "sample"], suffixes=("", "_all"))
    assert len(both) == 9
    assert (both["seed"] == both["seed_all"]).all()
    assert (both["response"] == both["response_all"]).all()


def test_a_finished_table_is_found_finished(collect, tmp_path):
    collect()
    asked, scored = diary(tmp_path), diary(tmp_path, "scored")
    code, out, _ = collect()
    assert code == 0
    assert "8 units sampled already" in out
    assert "4 units scored by letters already" in out
    assert diary(tmp_path) == asked
    assert diary(tmp_path, "scored") == scored


def test_folders_are_listed_as_often_whatever_their_size(tmp_path, monkeypatch):
    """On an object store a list of many files is many requests."""
    listed, names = [], Store.names
    monkeypatch.setattr(Store, "names", lambda self, folder: listed.append(folder) or names(self, folder))
    counts = []
    for prompts, members in ((7, "[{name: a}]"), (40, "[{name: a}, {name: b}, {name: c}]")):
        folder = tmp_path / str(prompts)
        folder.mkdir()
        for _ in range(2):
            listed.clear()
            assert cli.main(command(folder, prompts=prompts, members=members)) == 0
            counts.append(len(listed))
    assert counts[:2] == counts[2:]
    assert max(counts) <= 16


def test_identical_responses_are_scored_once(collect, tmp_path):
    collect("engine.seconds=0")
    pairs = [tuple(pair) for pair in diary(tmp_path, "scored")]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["k=2"], "k = 2: the table has k = 3"),
        (["seed=1"], "seed = 1: the table has seed = 0"),
        (["block=3"], "block = 3: the table has block = 2"),
        (["prompts.limit=3"], "are not what they were, or are not there"),
        (["pool.decoding={temperature: 0.5}"], "pool.members.small: differs in decoding"),
        (["engine.voice=low"], "pool.members.small: differs in engine"),
        (["reward_model.letter=b"], "reward_model.name = letters: "),
    ],
)
def test_other_settings_do_not_overwrite_a_table(collect, tmp_path, change, said):
    collect()
    before = samples(tmp_path)
    code, _, err = collect(*change)
    assert code == 2
    assert said in err
    assert "another" in err
    pd.testing.assert_frame_equal(samples(tmp_path), before)


def test_a_member_is_added_to_a_finished_table(collect, tmp_path):
    collect()
    before, asked = samples(tmp_path), len(diary(tmp_path))
    code, _, _ = collect(members="[{name: small}, {name: new}, {name: org/big}]")
    assert code == 0
    assert {entry[0] for entry in diary(tmp_path)[asked:]} == {"new"}
    after = samples(tmp_path)
    pd.testing.assert_frame_equal(after[after["model"] != "new"].reset_index(drop=True), before)
    assert after["reward"].notna().all()
    assert read_table(tmp_path / "table").members == ("new", "org/big", "small")


def test_a_second_reward_model_samples_nothing(collect, tmp_path):
    collect()
    asked = len(diary(tmp_path))
    code, _, _ = collect("reward_model.name=ells", "reward_model.letter=l")
    assert code == 0
    assert len(diary(tmp_path)) == asked
    ells = samples(tmp_path, "ells")
    assert (ells["reward"] == ells["response"].str.count("l")).all()
    assert read_table(tmp_path / "table", reward_model="letters").reward_model == "letters"


def test_a_cost_is_said_in_the_config_and_negated_by_who_reads_it(collect, tmp_path):
    code, out, err = collect("+reward_model.higher_is_better=false")
    assert code == 0, err
    rows = samples(tmp_path)
    assert (rows["reward"] == rows["response"].str.count("a")).all()  # raw
    means = rows.groupby("model")["reward"].mean()
    named = [line.split()[0] for line in out.splitlines() if " mean " in line]
    assert named == means.sort_values().index.tolist()  # the best, which is the lowest, first
    table = read_table(tmp_path / "table")
    assert "lower is better for letters: its rewards were negated" in table.notes
    assert table.samples["reward"].max() == 0
    assert table.samples["reward"].sum() == -rows["reward"].sum()
    code, _, err = collect()
    assert code == 2
    assert "has scores of that name with other higher_is_better" in err
    _, _, err = collect("+reward_model.higher_is_better=0")
    assert "reward_model.higher_is_better = 0: allowed are true and false" in err


def test_a_sweep_over_reward_models_samples_once(tmp_path, capsys):
    arguments = [a for a in command(tmp_path) if not a.startswith("reward_model=")]
    assert cli.main([*arguments, "-m", "reward_model=letters,dees"]) == 0
    assert "2 ok, 0 failed" in capsys.readouterr().out
    assert len(diary(tmp_path)) == 7 * 2
    dees = samples(tmp_path, "dees")
    assert (dees["reward"] == dees["response"].str.count("d")).all()


def test_steps_run_apart(collect, tmp_path):
    code, _, err = collect("steps=[score]")
    assert code == 2
    assert "give steps=[sample]" in err
    assert collect("steps=[sample]")[0] == 0
    assert not (tmp_path / "table/rewards").exists()
    assert collect("steps=[score]")[0] == 0
    assert samples(tmp_path)["reward"].notna().all()


def test_failures_are_recorded_and_tried_again(collect, tmp_path):
    code, _, err = collect("engine.fail=[bread]", "retries=1")
    assert code == 2
    assert "2 of 14 prompts failed, such as by: the server is not well" in err
    assert not (tmp_path / "table/manifest.json").exists()
    assert len(samples(tmp_path, None)) == 6 * 2 * 3
    assert [entry[1] for entry in diary(tmp_path)].count("bread") == 2 * 2
    (tmp_path / "mended").touch()
    asked = len(diary(tmp_path))
    assert collect("engine.fail=[bread]")[0] == 0
    assert [entry[1] for entry in diary(tmp_path)[asked:]] == ["bread", "bread"]
    whole = tmp_path / "whole"
    whole.mkdir()
    cli.main(command(whole))
    pd.testing.assert_frame_equal(samples(tmp_path), samples(whole))


def test_a_stated_share_may_fail(collect, tmp_path):
    code, out, _ = collect("engine.fail=[bread]", "max_failed=0.2", "retries=0")
    assert code == 0
    assert "2 failed prompts" in out
    assert json.loads((tmp_path / "table/manifest.json").read_text())["failed_prompts"] == 2
    table = read_table(tmp_path / "table")
    assert len(table.prompts) == 6
    (tmp_path / "mended").touch()
    asked = len(diary(tmp_path))
    assert collect("engine.fail=[bread]", "max_failed=0.2")[0] == 0
    assert len(diary(tmp_path)) == asked
    assert collect("engine.fail=[bread]", "max_failed=0.2", "retry_failed=true")[0] == 0
    assert len(read_table(tmp_path / "table").prompts) == 7


def test_scores_that_failed_are_asked_for_again(collect, tmp_path):
    code, _, err = collect("reward_model.broken=true", "retries=0")
    assert code == 2
    assert "out of reach" in err
    assert not (tmp_path / "table/rewards/letters/manifest.json").exists()
    assert collect()[0] == 0
    assert samples(tmp_path)["reward"].notna().all()


def test_a_dry_run_counts_and_touches_nothing(collect, tmp_path):
    members = "[{name: small, input_usd_per_mtok: 1000, output_usd_per_mtok: 2000, active_parameters: 1e13}]"
    code, out, _ = collect("dry_run=true", "assume.completion_tokens=100", "assume.tflops=1", members=members)
    assert code == 0
    assert not (tmp_path / "table").exists()
    (line,) = [line.split() for line in out.splitlines() if line.strip().startswith("small")]
    # seven words of five letters: two tokens each; 21 responses of 100 tokens
    assert line[1:5] == ["4", "21", "14", "2,100"]
    assert float(line[5]) == pytest.approx(14 * 3 * 1000 / 1e6 + 2100 * 2000 / 1e6, abs=0.005)
    assert float(line[6]) == pytest.approx(2 * 1e13 * 2114 / 1e12 / 3600, abs=0.005)


def test_a_dry_run_reports_what_is_measured(collect):
    collect()
    _, out, _ = collect("dry_run=true", members="[{name: small}, {name: org/big}, {name: new}]")
    assert "4 of 12 units left" in out
    assert "measured in the finished units" in out


def test_two_collections_do_not_write_one_table(collect, tmp_path):
    slow = subprocess.Popen(
        [sys.executable, "-m", "erp", *command(tmp_path, "engine.seconds=0.3")], cwd=Path.cwd(), stderr=subprocess.PIPE
    )
    try:
        while not diary(tmp_path) and slow.poll() is None:
            time.sleep(0.05)
        code, _, err = collect()
        assert code == 2
        assert "another collection is writing there" in err
    finally:
        slow.kill()
        slow.communicate()


def test_a_collection_killed_at_random_moments_ends_as_an_uninterrupted_one(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    cli.main(command(whole, prompts=21))
    chance, kills = random.Random(0), 0
    arguments = command(tmp_path, "engine.seconds=0.02", prompts=21)
    while True:
        process = subprocess.Popen([sys.executable, "-m", "erp", *arguments], stdout=subprocess.PIPE)
        if kills < 5:
            asked = len(diary(tmp_path))
            while len(diary(tmp_path)) == asked and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        kills += 1
    assert kills == 5
    table = samples(tmp_path)
    pd.testing.assert_frame_equal(table, samples(whole))
    requests = [tuple(entry) for entry in diary(tmp_path)]
    assert set(requests) == {tuple(entry) for entry in diary(whole)}
    assert len(requests) - len(set(requests)) <= kills * 2  # a kill costs one unit, here two prompts


def test_a_table_may_lie_in_any_store_that_fsspec_knows(tmp_path):
    import fsspec

    arguments = [a for a in command(tmp_path) if not a.startswith("out=")]
    diaries = [f"engine.diary={tmp_path / 'diary'}", f"reward_model.diary={tmp_path / 'scored'}"]
    assert cli.main([*arguments, *diaries, "out=memory://bucket"]) == 0
    memory = fsspec.filesystem("memory")
    assert memory.exists("/bucket/table/manifest.json")
    parts = memory.glob("/bucket/table/samples/part-*.parquet")
    frames = [pd.read_parquet(memory.open(part)) for part in parts]
    assert sum(map(len, frames)) == 7 * 2 * 3
    memory.rm("/bucket", recursive=True)


def test_what_is_no_part_is_refused_before_anything_is_sampled(collect, tmp_path):
    code, _, err = collect("engine.secs=3", "reward_model.leter=b", "k=0")
    assert code == 2
    assert "engine.secs" in err
    assert "reward_model.leter" in err
    assert "k = 0" in err
    assert not (tmp_path / "table").exists()


def test_a_full_disk_says_so_and_keeps_what_is_there(collect, tmp_path, monkeypatch):
    from erp.collect.store import Store

    write = Store.write_frame

    def full(self, name, frame, *more):
        if "org%2Fbig" in name:
            raise OSError(28, "No space left on device", name)
        write(self, name, frame, *more)

    monkeypatch.setattr(Store, "write_frame", full)
    code, _, err = collect()
    assert code == 2
    assert "No space left on device" in err
    monkeypatch.undo()
    asked = len(diary(tmp_path))
    assert asked == 7 + 2
    assert collect()[0] == 0
    assert {entry[0] for entry in diary(tmp_path)[asked:]} == {"org/big"}


def test_how_fast_an_engine_works_may_change(collect, tmp_path):
    collect("steps=[sample]")
    code, _, _ = collect("engine.seconds=0.001")
    assert code == 0


def test_a_member_that_is_half_sampled_keeps_the_table_unfinished(collect, tmp_path):
    killed = subprocess.Popen([sys.executable, "-m", "erp", *command(tmp_path, "engine.seconds=0.05")])
    while [entry[0] for entry in diary(tmp_path)].count("org/big") < 3 and killed.poll() is None:  # the first answered
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    code, out, err = collect(members="[{name: small}]")
    assert code == 2
    assert "unfinished: org/big, which are not of this pool" in out
    assert "not sampled to the end" in err
    assert not (tmp_path / "table/manifest.json").exists()
    assert collect()[0] == 0
    assert len(samples(tmp_path)) == 7 * 2 * 3


def test_new_members_without_scores_are_not_taken_for_a_finished_table(collect, tmp_path):
    collect()
    assert collect("steps=[sample]", members="[{name: new}]")[0] == 0
    with pytest.raises(ErpError, match="no reward model has scored it"):
        read_table(tmp_path / "table")
    assert collect("steps=[score]", members="[{name: new}]")[0] == 0
    assert read_table(tmp_path / "table").members == ("new", "org/big", "small")


def test_what_is_known_of_members_stays_when_others_are_added(collect, tmp_path):
    collect(members="[{name: small, active_parameters: 1e9}]")
    collect(members="[{name: new, active_parameters: 2e9}]")
    assert read_table(tmp_path / "table").facts == {
        "small": {"active_parameters": 1e9},
        "new": {"active_parameters": 2e9},
    }


def test_a_command_with_nothing_to_do_changes_no_file(collect, tmp_path):
    collect()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "table").rglob("*.json")}
    collect()
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "table").rglob("*.json")} == before


def test_killed_before_the_prompts_were_written(collect, tmp_path):
    collect()
    whole = samples(tmp_path)
    shutil.rmtree(tmp_path / "table/samples")
    shutil.rmtree(tmp_path / "table/rewards")
    for name in ("manifest.json", "prompts.parquet"):
        (tmp_path / "table" / name).unlink()
    assert collect()[0] == 0
    pd.testing.assert_frame_equal(samples(tmp_path), whole)


def test_killed_between_the_scores_and_the_note_that_they_failed_before(collect, tmp_path):
    collect()
    note = tmp_path / "table/failures/rewards/letters/00000.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text('{"p0": "gone", "p1": "gone"}')
    (tmp_path / "table/rewards/letters/manifest.json").unlink()
    assert collect()[0] == 0
    assert not note.exists()


def test_a_unit_that_is_scored_again_stays_as_it_is(collect, tmp_path):
    from erp.collect.score import Scorer
    from erp.collect.units import Blocks, Unit

    collect()
    before = samples(tmp_path)
    node = {"_target_": "tests.collect.fakes.Letters", "name": "letters"}
    scorer = Scorer(str(tmp_path / "table"), node, ["small", "org/big"], Blocks(2, (7,)), None)
    (report,) = scorer.run([Unit(1)])
    assert report.done == 0
    pd.testing.assert_frame_equal(samples(tmp_path), before)


def test_a_dry_run_refuses_what_the_run_would(collect):
    collect()
    code, _, err = collect("k=2", "dry_run=true")
    assert code == 2
    assert "k = 2: the table has k = 3" in err


def test_a_model_is_loaded_once_whatever_is_tried_again(collect, tmp_path):
    code, _, err = collect("engine=heavy", "engine.fail=[bread]", "max_failed=0.2", "retries=2")
    assert code == 0, err
    assert diary(tmp_path, "loads") == ["small", "org/big"]
    assert [entry[1] for entry in diary(tmp_path)].count("bread") == 2 * (1 + 2)


def test_a_second_round_adds_to_the_time_a_unit_took(collect, tmp_path):
    collect("engine.fail=[bread]", "engine.seconds=0.05", "retries=0")
    (tmp_path / "mended").touch()
    collect("engine.fail=[bread]")
    said = json.loads((tmp_path / "table/log/samples/small-00000.json").read_text())
    assert said["done"] == 2 * 3
    assert said["seconds"] > 0.1


@pytest.mark.parametrize(
    ("members", "more", "said"),
    [
        ("[{name: a}, {name: a, system: x}]", [], "names a twice"),
        ("[{name: " + "x" * 200 + "}]", [], "too long"),
        ("[a]", ["name=.."], "name = ..: names no folder"),
        ("[a]", ["name=a/b"], "name = a/b: names no folder"),
        ("[a]", ["reward_model.name=.."], "needs a name"),
    ],
)
def test_names_that_are_no_names(collect, tmp_path, members, more, said):
    code, _, err = collect(*more, members=members)
    assert code == 2
    assert said in err


def test_prompts_that_cannot_be_scored_are_refused_before_anything_is_sampled(collect, tmp_path):
    code, _, err = collect("reward_model=verifier_exact")
    assert code == 2
    assert "reference has no answer" in err
    assert not diary(tmp_path)


def test_a_field_that_is_left_out_is_so_in_the_settings(collect, tmp_path):
    left_out = "pool.decoding={temperature: null, top_p: null, max_tokens: null}"
    code, out, err = collect(left_out, "dry_run=true")
    assert code == 0, err
    assert "a guess of 1,024 tokens, as max_tokens is null" in out
    code, _, err = collect(left_out)
    assert code == 0, err
    said = json.loads((tmp_path / "table/manifest.json").read_text())["settings"]["members"]["small"]["decoding"]
    assert {key: said[key] for key in ("temperature", "top_p", "max_tokens")} == {
        "temperature": None, "top_p": None, "max_tokens": None
    }  # fmt: skip
    code, _, err = collect("pool.decoding={temperature: null}")
    assert code == 2
    assert "pool.members.small: differs in decoding" in err
    code, _, err = collect("pool.decoding={top_p: 0}", "name=other")
    assert code == 2
    assert "top_p = 0" in err


def test_numbers_and_mathematics_are_checked_on_the_command_line(collect, tmp_path):
    """The engine answers 22/7: two references are no numbers, which mathematics can judge by."""
    references = ["22/7", "12:30", 7, r"\frac{44}{14}", "(22, 7)"]
    prompts = [{"prompt_id": f"p{i}", "prompt": f"{i}?", "reference": said} for i, said in enumerate(references)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    more = ["engine.says='so 22/7'"]
    code, _, err = collect("reward_model=verifier_numeric", *more)
    assert code == 2
    assert "a reference's answer = '12:30' ('1?'): is not one number" in err
    assert "(and 1 more of 5 prompts)" in err
    assert not diary(tmp_path)
    code, _, err = collect("reward_model=verifier_math", *more)
    assert code == 0, err
    rewards = samples(tmp_path, "verifier_math").groupby("prompt_id")["reward"].mean()
    assert rewards.tolist() == [1, 0, 0, 1, 0]


def test_a_source_that_cannot_change_is_read_once(collect, tmp_path, monkeypatch):
    from erp.collect.prompts.files import JsonLines

    monkeypatch.setattr(JsonLines, "fixed", True)
    collect()
    (tmp_path / "prompts.jsonl").write_text("gone")
    code, out, _ = collect()
    assert code == 0
    assert "sampled already" in out
    code, _, err = collect("prompts.limit=3")
    assert code == 2
    assert "prompts.jsonl" in err


def test_a_file_that_has_changed_is_noticed(collect, tmp_path):
    collect()
    file = tmp_path / "prompts.jsonl"
    file.write_text(file.read_text().replace("chair", "choir"))
    code, _, err = collect()
    assert code == 2
    assert "are not what they were, or are not there" in err


def test_a_reward_model_that_never_scored_does_not_hold_its_name(collect):
    assert collect("reward_model.broken=true", "retries=0")[0] == 2
    assert collect("reward_model.letter=b")[0] == 0


def test_prices_given_later_reach_the_finished_table(collect, tmp_path):
    collect()
    members = "[{name: small, input_usd_per_mtok: 1, output_usd_per_mtok: 2}, {name: org/big}]"
    assert collect(members=members)[0] == 0
    assert read_table(tmp_path / "table").facts["small"] == {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}


def test_what_a_new_member_takes_is_said_before_it_is_sampled(collect):
    _, out, _ = collect()
    assert "8 of 8 units left" in out
    _, out, _ = collect(members="[{name: small}, {name: org/big}, {name: new}]")
    assert "4 of 12 units left" in out
    _, out, _ = collect()
    assert "units left" not in out


def test_it_stops_where_nothing_comes_of_anything(collect, tmp_path):
    code, _, err = collect("engine.fail=[apple,bread,chair,dream,eagle,flame,grape]", "retries=5")
    assert code == 2
    assert "nothing came of 3 units one after the other, the last by: the server is not well" in err
    assert len(diary(tmp_path)) == 6
    (tmp_path / "mended").touch()
    assert collect()[0] == 0


def test_the_bar_moves_within_a_unit(tmp_path, capsys):
    cli.main(command(tmp_path, "progress=true", "block=7", "engine.seconds=0.05"))
    said = capsys.readouterr().err
    assert "sampling: 100%" in said
    assert "42/42" in said


def test_a_table_is_called_after_its_prompts(tmp_path, capsys):
    arguments = [a for a in command(tmp_path) if not a.startswith("name=")]
    assert cli.main(arguments) == 0
    assert (tmp_path / "prompts/manifest.json").exists()


def test_a_bare_step_and_a_file_in_the_way(collect, tmp_path):
    assert collect("steps=sample")[0] == 0
    (tmp_path / "file").write_text("")
    code, _, err = collect(f"out={tmp_path / 'file'}")
    assert code == 2
    assert f"out = {tmp_path / 'file'}" in err


def test_scoring_alone_needs_no_engine_and_no_pool(collect, tmp_path):
    collect("steps=[sample]")
    arguments = [a for a in command(tmp_path, "steps=[score]") if not a.startswith(("pool.members", "engine="))]
    assert cli.main(arguments) == 0
    assert samples(tmp_path)["reward"].notna().all()
    assert collect()[0] == 0


def test_no_member_can_be_left_out_of_what_is_collected(tmp_path, capsys):
    assert cli.main(command(tmp_path, "pool.complete=auto")) == 2
    assert capsys.readouterr().err.startswith("erp collect: pool.complete = auto: a collection leaves no member out")
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("left_out", "said"), [("pool.members", "names no members"), ("engine=", "engine: is required")]
)
def test_sampling_needs_both(tmp_path, capsys, left_out, said):
    assert cli.main([a for a in command(tmp_path) if not a.startswith(left_out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert len(line) < 200


def test_scoring_adds_no_member(collect, tmp_path):
    collect("steps=[sample]", members="[{name: small, active_parameters: 2e9}, {name: org/big}]")
    stranger = "[{name: small, active_parameters: 2e9}, {name: stranger, active_parameters: 1e9}]"
    assert collect("steps=[score]", members=stranger)[0] == 0
    code, out, _ = collect()
    assert code == 0
    assert "unfinished" not in out
    table = read_table(tmp_path / "table")
    assert table.members == ("org/big", "small")
    assert "stranger" not in json.loads((tmp_path / "table/collect.json").read_text())["facts"]


def test_responses_from_a_cache_are_told_when_collected_and_when_read(collect, tmp_path, capsys):
    members = "[{name: small}, {name: greedy, decoding: {temperature: 0.0}}, {name: fresh}]"
    code, out, _ = collect("engine.cached=[small, greedy]", members=members)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("warning")]
    assert line.startswith("warning: small: all 3 responses are the same text for 7 of 7 prompts, at temperature ")
    table = read_table(tmp_path / "table")
    assert dict(table.suspects) == {"small": "all samples of a prompt are equal in 7 of 7 cells"}
    assert cli.main(["describe", "data=table", f"data.path={tmp_path / 'table'}"]) == 0
    assert "warning: not to be believed, because samples look like copies (small: " in capsys.readouterr().out


@pytest.mark.parametrize("counted", [0, -1, None, "many", 2**70, True])
def test_a_length_that_cannot_be_true_is_unknown_told_and_estimated(collect, tmp_path, counted):
    code, out, _ = collect(f"engine.counted={json.dumps(counted)}", "engine.counts=false")
    assert code == 0
    assert "warning: small: the tokens of 21 of 21 responses are unknown" in out
    rows = samples(tmp_path)
    assert rows["completion_tokens"].isna().all()
    table = read_table(tmp_path / "table")
    lengths = (rows["response"].str.len() / 4).apply(lambda n: -(-n // 1))
    assert table.samples["completion_tokens"].sum() == lengths.sum()
    assert "completion tokens are estimated as characters / 4 in 42 of 42 rows" in table.notes


def test_programs_that_differ_in_indentation_are_two_prompts(collect, tmp_path):
    texts = ["if a:\n    b()\n    c()", "if a:\n    b()\nc()", "What is 2\u00b3?", "What is 23?"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in [*texts, texts[0]]))
    code, out, _ = collect()
    assert code == 0
    assert "1 of 5 rows repeat a prompt's text and are left out" in out
    table = read_table(tmp_path / "table")
    assert sorted(table.prompts["prompt"]) == sorted(texts)
    assert "4 texts differ from another in case, white space or Unicode form alone" in " ".join(table.notes)


def test_a_collection_begun_with_ids_of_folded_texts_goes_on(collect, tmp_path):
    texts = ["one line", "two\nlines"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    old = [hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16] for text in texts]
    (tmp_path / "old.jsonl").write_text(
        "".join(json.dumps({"prompt": text, "prompt_id": key}) + "\n" for text, key in zip(texts, old, strict=True))
    )
    source = f"prompts.path={tmp_path / 'prompts.jsonl'}"
    assert collect(f"prompts.path={tmp_path / 'old.jsonl'}")[0] == 0
    code, out, _ = collect(source)
    assert code == 0, out
    assert "4 units sampled already" in out or "2 units sampled already" in out
    assert sorted(samples(tmp_path)["prompt_id"].unique()) == sorted(old)


def test_a_manifest_names_all_devices_that_scores_were_computed_on(collect, tmp_path):
    elsewhere = "reward_model._target_=tests.collect.fakes.Elsewhere"
    for members, device in (("[{name: small}]", "cuda:0"), ("[{name: small}, {name: org/big}]", "cpu")):
        code, _, err = collect(elsewhere, f"+reward_model.on={device}", members=members)
        assert code == 0, err
    manifest = json.loads((tmp_path / "table/rewards/letters/manifest.json").read_text())
    assert manifest["device"] == "cpu, cuda:0"
