"""What was paid for is kept: single samples, answers before an error, verdicts; what is refused is not asked again."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from erp import cli
from erp.table.read import read_table
from tests.collect.commands import WORDS, command, diary, samples
from tests.engines.chat_server import ChatServer, Reply, completion, error

OPENAI = ["engine=openai", "engine.api_key_env=null", "engine.backoff_s=0", "engine.concurrency=4"]
JUDGE = ["reward_model=judge", "reward_model.model=j", "reward_model.api_key_env=null", "reward_model.concurrency=2"]


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def prompt(body):
    return body["messages"][-1]["content"]


def echo(body, number):
    return completion(f"{prompt(body)} {body['seed']}")


def test_a_table_ends_though_some_prompts_are_refused(collect, tmp_path):
    """Refused prompts are asked once, and units of nothing else are no sign of a server that is down."""
    long = ["apple", "chair", "eagle", "grape"]  # one in each of four blocks

    def answer(body, number):
        return error(400, "maximum context length is 8") if prompt(body) in long else echo(body, number)

    with ChatServer(answer) as server:
        code, out, err = collect(*OPENAI, f"engine.base_url={server.url}", "k=1", "max_failed=0.6", "retries=2")
        assert code == 0, err
        assert "8 failed prompts" in out
        assert len(server.calls) == 7 * 2  # each once
        assert collect(*OPENAI, f"engine.base_url={server.url}", "k=1", "max_failed=0.6")[0] == 0
        assert len(server.calls) == 7 * 2


def test_what_nothing_came_of_may_be_corrected(collect, tmp_path):
    """A wrong model's name, and everything else of a table without a response; then what is said of a silent member."""

    def answer(body, number):
        return error(404, "no such model") if body["model"] == "wrong" else echo(body, number)

    def run(members, *more, **options):
        return collect(*OPENAI, f"engine.base_url={server.url}", *more, members=members, **options)

    with ChatServer(answer) as server:
        assert "answers 404 (no such model)" in run("[{name: small, model: wrong}]")[2]
        two = "[{name: small}, {name: large, model: wrong}]"
        arguments = ("k=2", "seed=1", "block=3", "prompts.limit=5", "pool.decoding={temperature: 0.5}")
        assert "answers 404" in run(two, *arguments)[2]
        asked = len([body for body in server.bodies if body["model"] == "small"])
        assert asked == 5 * 2
        corrected = "[{name: small}, {name: large, model: right}]"
        code, _, err = run(corrected, *arguments, "dry_run=true")
        assert code == 0, err
        code, _, err = run(corrected, *arguments)
        assert code == 0, err
        assert [body["model"] for body in server.bodies].count("small") == asked
        assert len(samples(tmp_path)) == 5 * 2 * 2
        other = run("[{name: small, model: other}, {name: large, model: right}]", *arguments)
        assert other[0] == 2
        assert "pool.members.small: differs in model" in other[2]


def test_a_member_that_never_answered_is_no_member_of_another_pool_s_table(collect, tmp_path):
    def answer(body, number):
        return error(400, "no") if body["model"] == "mute" else echo(body, number)

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}")
        assert collect(*arguments, members="[{name: small}, {name: mute}]")[0] == 2
        assert (tmp_path / "table/failures/samples/mute-00000.json").exists()
        code, _, err = collect(*arguments, members="[{name: small}]")
        assert code == 0, err
    assert set(samples(tmp_path)["model"]) == {"small"}
    assert json.loads((tmp_path / "table/manifest.json").read_text())["members"] == ["small"]
    assert not list((tmp_path / "table/failures/samples").iterdir())


@pytest.mark.parametrize("status", [402, 404])
def test_answers_before_an_error_that_ends_the_run_are_kept(collect, tmp_path, status):
    good, stopped = 25, threading.Event()

    def answer(body, number):
        return error(status, "no more") if number >= good and not stopped.is_set() else echo(body, number)

    with ChatServer(answer) as server:
        code, _, err = collect(*OPENAI, f"engine.base_url={server.url}", "k=8", "block=7")
        assert code == 2
        assert f"answers {status} (no more)" in err
        stopped.set()
        asked = len(server.calls)
        assert collect(*OPENAI, f"engine.base_url={server.url}", "k=8", "block=7")[0] == 0
        assert len(server.calls) - asked <= 7 * 2 * 8 - good + 4  # those that were under way
    rows = samples(tmp_path)
    assert len(rows) == 7 * 2 * 8
    assert not list((tmp_path / "table/journal").rglob("*.jsonl"))


def test_what_every_call_is_refused_for_is_asked_again(collect, tmp_path):
    """A field that the server does not know is no fault of the prompts; one prompt that is too long is its own."""

    def answer(body, number):
        if prompt(body) == "chair":
            return error(400, "maximum context length is 4")
        return error(400, "max_tokens is not known here") if "max_tokens" in body else echo(body, number)

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "k=1", "block=7")
        decoding = "pool.decoding={max_tokens: 9}"
        code, _, err = collect(*arguments, decoding, members="[{name: small}]")
        assert code == 2
        assert "7 of 7 prompts failed" in err
        assert "mend the cause and give the same command, or allow" in err
        asked = len(server.calls)
        mended = (*arguments, decoding, "engine.max_tokens_field=max_completion_tokens")
        code, _, err = collect(*mended, members="[{name: small}]")
        assert code == 2
        assert "1 of 7 prompts failed, such as by: 400: maximum context length is 4 (prompt p2); what" in err
        assert "same command with retry_failed=true (1 were refused, and are asked again by that alone), or" in err
        assert len(server.calls) == asked + 7
        assert len(samples(tmp_path, None)) == 6
        assert collect(*mended, "max_failed=0.2", members="[{name: small}]")[0] == 0
        assert len(server.calls) == asked + 7


def test_a_reason_is_said_once(collect):
    """Not for every unit, and not in every round."""
    with ChatServer(lambda body, n: error(500, f"no, for the {n}th time") if n else echo(body, n)) as server:
        members = "[{name: small}]"
        code, _, err = collect(*OPENAI, f"engine.base_url={server.url}", "engine.retries=0", "block=4", members=members)
    assert code == 2
    (first, last) = err.splitlines()
    assert " prompts failed, such as p" in first
    assert "th time" in first
    assert last.startswith("erp collect: max_failed = 0.01: ")


def test_what_a_killed_collection_has_is_counted(collect, tmp_path, capsys):
    def answer(body, number):
        return echo(body, number) if number < 8 else error(402, "no credit")

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "block=7", "engine.concurrency=1")
        assert collect(*arguments, members="[{name: small}]")[0] == 2
        _, out, _ = collect(*arguments, "dry_run=true", members="[{name: small}]")
        assert "= 21 responses; 1 of 1 units left, of which 8 responses are there\n" in out
        (row,) = [line.split() for line in out.splitlines() if line.startswith("  small ")]
        assert row[1:3] == ["1", "13"]
        cli.main(command(tmp_path, *arguments, "progress=true", members="[{name: small}]"))
    assert "| 8/21 [" in capsys.readouterr().err


def test_the_speed_of_a_member_leaves_out_what_a_killed_collection_had(collect, tmp_path):
    """How long that took nobody knows: with it, what is left to do would be planned too short."""

    def answer(body, number):
        return echo(body, number) if number < 18 else error(402, "no credit")

    small = "[{name: small}]"
    with ChatServer(answer) as server:
        assert collect(*OPENAI, f"engine.base_url={server.url}", "block=7", members=small)[0] == 2
    there = len((tmp_path / "table/journal/samples/small-00000.jsonl").read_text().splitlines())
    assert 14 <= there <= 18
    with ChatServer(lambda body, number: Reply(echo(body, number), wait_s=0.5)) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "block=7", "engine.concurrency=1")
        assert collect(*arguments, members=small)[0] == 0
        (tmp_path / "prompts.jsonl").unlink()
        _, out, _ = collect(*arguments, "dry_run=true", members=small, prompts=3007)
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  small ")]
    assert row[2] == "9,000"
    assert 1.25 <= float(row[7]) < 2.5  # hours, at 0.5 s and a little more


def test_a_full_disk_is_said_of_the_file(collect, tmp_path, monkeypatch):
    """The system names none."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("erp.collect.journal.json", SimpleNamespace(dumps=full, loads=json.loads))
    code, _, err = collect()
    assert code == 2
    where = tmp_path / "table/journal/samples/small-00000.jsonl"
    (line,) = err.splitlines()
    assert line.startswith(f"erp collect: file = {where}: No space left on device; check the path")


def test_a_sample_that_is_refused_costs_no_other_and_one_that_fails_is_asked_alone(collect, tmp_path):
    seen = set()

    def answer(body, number):
        once = (prompt(body), body["seed"])
        if body["seed"] % 10 == 3 and once not in seen:
            seen.add(once)
            return error(422, "unlucky")
        return echo(body, number)

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "k=10", "max_failed=1")
        code, out, _ = collect(*arguments, "pool.members=[{name: small}]")
        assert code == 0
        assert len(samples(tmp_path)) == 7 * 9
        assert "7 failed prompts" in out
        assert len(server.calls) == 7 * 10
        assert collect(*arguments, "pool.members=[{name: small}]", "retry_failed=true")[0] == 0
        assert len(server.calls) == 7 * 10 + 7
    assert len(samples(tmp_path)) == 7 * 10


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_response_that_the_server_broke_off_is_asked_for_again(collect, tmp_path, reason):
    def answer(body, number):
        return completion("", finish_reason=reason) if number % 5 == 0 else echo(body, number)

    with ChatServer(answer) as server:
        code, _, err = collect(*OPENAI, f"engine.base_url={server.url}", "retries=9", "engine.concurrency=1")
    assert code == 0, err
    rows = samples(tmp_path)
    assert (rows["response"] != "").all()
    assert set(rows["finish_reason"]) == {"stop"}


def test_filtered_responses_count_or_fail(collect, tmp_path):
    def answer(body, number):
        return completion("cut", finish_reason="content_filter") if prompt(body) == "bread" else echo(body, number)

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "max_failed=0.2")
        assert collect(*arguments, "engine.keep_filtered=false")[0] == 0
        assert len(samples(tmp_path)) == 6 * 2 * 3
        assert collect(*arguments, "name=other")[0] == 0


def test_an_option_that_an_older_erp_did_not_have_is_as_it_always_was(collect, tmp_path):
    with ChatServer(echo) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "k=1")
        assert collect(*arguments)[0] == 0
        file = tmp_path / "table/collect.json"
        settings = json.loads(file.read_text())
        for member in settings["members"].values():
            del member["engine"]["keep_filtered"]
        file.write_text(json.dumps(settings))
        assert "already" in collect(*arguments)[1]
        code, _, err = collect(*arguments, "engine.keep_filtered=false")
        assert code == 2
        assert "pool.members.small: differs in engine" in err


def test_responses_that_were_cut_are_counted(collect, tmp_path, capsys):
    def answer(body, number):
        return completion("so far", finish_reason="length" if prompt(body) == "bread" else "stop")

    with ChatServer(answer) as server:
        _, out, _ = collect(*OPENAI, f"engine.base_url={server.url}", "pool.decoding={max_tokens: 5}")
    told = "small: 3 of 21 responses (14.3%) were cut at max_tokens = 5"
    assert f"note: {told}" in out
    table = read_table(tmp_path / "table")
    assert [note for note in table.notes if "were cut" in note] == [
        told.replace("small", m) for m in ("org/big", "small")
    ]
    assert cli.main(["describe", "data=table", f"data.path={tmp_path / 'table'}", "near_duplicates=null"]) == 0
    assert f"note: {told}" in capsys.readouterr().out


def test_greedy_is_asked_for_once_and_repeated(collect, tmp_path):
    assert collect("pool.decoding={temperature: 0}")[0] == 0
    assert len(diary(tmp_path)) == 7 * 2
    rows = samples(tmp_path)
    assert len(rows) == 7 * 2 * 3
    assert (rows.groupby(["prompt_id", "model"])["response"].nunique() == 1).all()


def test_verdicts_before_an_error_that_ends_the_run_are_kept(collect, tmp_path):
    good, stopped = 15, threading.Event()

    def verdict(body, number):
        return error(402, "no more") if number >= good and not stopped.is_set() else completion("Score: 7")

    with ChatServer(verdict) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}", "block=7")
        code, _, err = collect(*arguments)
        assert code == 2
        assert "answers 402" in err
        stopped.set()
        asked = len(server.calls)
        assert collect(*arguments)[0] == 0
        pairs = len(samples(tmp_path, None)[["prompt_id", "response"]].drop_duplicates())
        assert len(server.calls) - asked <= pairs - good + 2
    assert (samples(tmp_path, "judge")["reward"] == 7).all()


def test_verdicts_of_another_rubric_are_not_taken_for_its_own(collect, tmp_path):
    """Nothing was written yet, so the name is free; what the journal held was said to another question."""

    def verdict(body, number):
        if "BETTER" in prompt(body):
            return completion("Score: 3")
        return error(402, "no more") if number >= 15 else completion("Score: 7")

    with ChatServer(verdict) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}", "block=7")
        assert collect(*arguments)[0] == 2
        assert list((tmp_path / "table/journal").rglob("*.jsonl"))
        code, _, err = collect(*arguments, "reward_model.rubric='BETTER {response}'")
        assert code == 0, err
    assert (samples(tmp_path, "judge")["reward"] == 3).all()


def test_prompts_that_fail_again_and_again_are_no_server_that_is_down(collect):
    """Four units of which nothing came before; each is asked again at every start, and the table ends."""

    def answer(body, number):
        return error(500, "cannot") if prompt(body) in ("apple", "chair", "eagle", "grape") else echo(body, number)

    with ChatServer(answer) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "k=1", "block=1", "engine.retries=0", "retries=0")
        arguments += ("engine.concurrency=1",)  # units end in their order: every other one has something
        assert "8 of 14 prompts failed" in collect(*arguments)[2]
        code, out, err = collect(*arguments, "max_failed=0.6", "retries=2")
        assert code == 0, err
        assert "8 failed prompts" in out


def test_a_judge_that_never_gives_a_score_is_told_after_eight_verdicts(collect, tmp_path):
    with ChatServer(lambda body, number: completion("It is fine.")) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}", "reward_model.concurrency=1")
        code, _, err = collect(*arguments, "k=9", "block=7")
        assert code == 2
        said = "none of the first 8 responses has a usable score (8 unparsable), but for example 'It is f"
        assert said in err
        assert len(server.calls) <= 9
        assert all(any(word in prompt(body) for body in server.bodies[:8]) for word in WORDS)
        assert "none of the first 64 responses" in collect(*arguments, "name=few", "k=33", "prompts.limit=3")[2]
        code, _, err = collect(*arguments, "name=short", "k=1", "prompts.limit=3")
        assert code == 2
        assert "max_missing = 0.1: 6 of 6 responses have no usable score by judge, but for example 'It is f" in err
    assert not (tmp_path / "short/rewards/judge/manifest.json").exists()


def test_one_prompt_that_a_judge_cannot_grade_stops_nothing(collect, tmp_path):
    """Neither at first, nor where it is all that is new."""

    def answer(body, number):
        return completion("I cannot." if "apple" in prompt(body) or "grape" in prompt(body) else "Score: 3")

    with ChatServer(answer) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}", "reward_model.concurrency=8", "max_missing=0.4")
        assert collect(*arguments, "k=33", "prompts.limit=6")[0] == 0
        code, _, err = collect(*arguments, "k=33")
        assert code == 0, err
    assert samples(tmp_path, "judge")["reward"].isna().sum() == 2 * 2 * 33


def test_a_judge_that_gave_no_score_yet_is_told_again(collect, tmp_path):
    """Scores that are missing say nothing for it: of a table that was small, and grew."""
    with ChatServer(lambda body, number: completion("It is fine.")) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}", "block=7")
        assert "6 of 6 responses have no usable score" in collect(*arguments, "k=1", "prompts.limit=3")[2]
        asked = len(server.calls)
        assert "has a usable score" in collect(*arguments, "k=9")[2]
        assert len(server.calls) < asked + 64


def test_a_stated_share_may_be_missing(collect):
    def verdict(body, number):
        return completion("Hm." if "apple" in prompt(body) else "Score: 3")

    with ChatServer(verdict) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}")
        code, _, err = collect(*arguments)
        assert code == 2
        assert "6 of 42 responses have no usable score" in err
        asked = len(server.calls)
        code, out, _ = collect(*arguments, "max_missing=0.2")
        assert code == 0
        assert "3 of 21 missing" in out
        assert len(server.calls) == asked


def test_two_reward_models_score_at_the_same_time(collect, tmp_path):
    assert collect("steps=[sample]")[0] == 0
    asked, go_on = threading.Event(), threading.Event()

    def verdict(body, number):
        asked.set()
        go_on.wait(20)
        return completion("Score: 7")

    with ChatServer(verdict) as server:
        arguments = (*JUDGE, f"reward_model.base_url={server.url}")
        judged = threading.Thread(target=lambda: cli.main(command(tmp_path, *arguments)))
        judged.start()
        assert asked.wait(20)
        code, _, err = collect()  # by letters
        assert code == 0, err
        code, _, err = collect(*arguments)
        assert code == 2
        assert "another collection is writing there (judge)" in err
        go_on.set()
        judged.join()
    assert samples(tmp_path, "letters")["reward"].notna().all()
    assert (samples(tmp_path, "judge")["reward"] == 7).all()


def test_a_member_behind_another_server(collect, tmp_path):
    with ChatServer(echo) as one, ChatServer(echo) as other:
        members = f"[{{name: small}}, {{name: big, engine: {{base_url: '{other.url}'}}}}]"
        arguments = (*OPENAI, f"engine.base_url={one.url}", "k=1", f"pool.members={members}")
        assert collect(*arguments)[0] == 0
        assert [body["model"] for body in one.bodies] == ["small"] * 7
        assert [body["model"] for body in other.bodies] == ["big"] * 7
        assert collect(*arguments)[0] == 0
        _, _, err = collect(*arguments[:-1], "pool.members=[{name: big, engine: {base_url: 3, colour: red}}]")
        assert "pool.members.big.engine.colour" in err


def test_a_plan_does_not_take_unknown_tokens_for_none(collect, tmp_path):
    """A server that does not tell tokens: the most they can be is planned, and said to be that."""

    def silent(body, number):
        return {**echo(body, number), "usage": None}

    with ChatServer(silent) as server:
        arguments = (*OPENAI, f"engine.base_url={server.url}", "k=1", "pool.decoding={max_tokens: 50}")
        assert collect(*arguments, "pool.members=[{name: small}]")[0] == 0
        _, out, _ = collect(*arguments, "dry_run=true", "pool.members=[{name: small}]", "name=table", "k=1")
        assert "max_tokens, the most it can be; the server does not tell" in out
