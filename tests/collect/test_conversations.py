"""Conversations as prompts: every turn reaches members and reward models, a text stands for them in the table."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from erp import cli
from erp.collect.rewards.base import Pair
from erp.config import Member
from erp.table.read import read_table
from tests.collect.commands import command, diary, samples
from tests.engines.chat_server import ChatServer, completion

TALK = [
    {"role": "system", "content": "Speak French."},
    {"role": "user", "content": "Name a bird."},
    {"role": "assistant", "content": "Un merle."},
    {"role": "user", "content": "Another."},
]
OTHER = [*TALK[:1], {"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "Un pin."}, TALK[-1]]
ROWS = [
    {"prompt_id": "a", "messages": TALK},
    {"prompt_id": "b", "messages": OTHER},  # the same last turn
    {"prompt_id": "c", "messages": [{"role": "user", "content": "apple"}]},
    {"prompt_id": "d", "messages": [{"from": "human", "value": "bread"}]},
]
OPENAI = ["engine=openai", "engine.api_key_env=null", "engine.backoff_s=0", "k=1"]


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def given(folder: Path, rows: list[dict]) -> None:
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def echo(body, number):
    return completion(" / ".join(turn["content"] for turn in body["messages"]))


def test_members_are_sent_all_turns_behind_their_own_beginning(collect, tmp_path):
    given(tmp_path, ROWS)
    styled = "{name: styled, system: Be brief., shots: [{user: 1+1?, assistant: '2'}], template: 'Q: {prompt}'}"
    with ChatServer(echo) as server:
        code, _, err = collect(*OPENAI, f"engine.base_url={server.url}", f"pool.members=[{{name: plain}}, {styled}]")
    assert code == 0, err
    sent = {(body["model"], tuple(turn["content"] for turn in body["messages"])) for body in server.bodies}
    assert ("plain", tuple(turn["content"] for turn in TALK)) in sent
    assert ("plain", ("apple",)) in sent
    told = ("Be brief.", "Speak French.", "1+1?", "2", "Name a bird.", "Un merle.", "Q: Another.")
    assert ("styled", told) in sent
    roles = {tuple(t["role"] for t in body["messages"]) for body in server.bodies if body["model"] == "styled"}
    assert ("system", "system", "user", "assistant", "user", "assistant", "user") in roles
    assert len(sent) == 4 * 2
    table = read_table(tmp_path / "table")
    assert table.prompts["prompt"].tolist() == ["Another.", "Another.", "apple", "bread"]
    kept = pd.read_parquet(tmp_path / "table/prompts.parquet").set_index("prompt_id")["messages"]
    assert json.loads(kept["a"]) == TALK
    assert kept[["c", "d"]].isna().all()


def test_reward_models_read_the_whole_conversation(collect, tmp_path):
    given(tmp_path, ROWS)
    assert collect()[0] == 0
    asked = {prompt for prompt, _ in diary(tmp_path, "scored")}
    whole = "system: Speak French.\n\nuser: Name a bird.\n\nassistant: Un merle.\n\nuser: Another."
    assert asked == {whole, whole.replace("bird", "tree").replace("merle", "pin"), "apple", "bread"}
    assert len(samples(tmp_path)) == 4 * 2 * 3


@pytest.mark.parametrize(
    ("rule", "text"), [("first_user", "Name a bird."), ("conversation", "system: Speak French.\n\nuser: Name a bird.")]
)
def test_the_text_that_stands_for_a_conversation_is_by_the_rule(collect, tmp_path, rule, text):
    given(tmp_path, ROWS)
    assert collect(f"prompts.prompt_from={rule}")[0] == 0
    assert read_table(tmp_path / "table").prompts["prompt"][0].startswith(text)
    assert {entry[1] for entry in diary(tmp_path)} == {"Another.", "apple", "bread"}  # the last turn of what was sent


def test_a_text_and_a_conversation_of_nothing_else_are_one_prompt(collect, tmp_path):
    """The same ids, seeds, responses and hashes, byte by byte; no column of messages."""
    made = []
    for form in ("prompt", "messages"):
        folder = tmp_path / form
        folder.mkdir()
        words = ["apple", "bread", "chair"]
        rows = [{form: w if form == "prompt" else [{"role": "user", "content": w}]} for w in words]
        given(folder, rows)
        assert cli.main(command(folder)) == 0
        made.append(folder)
    one, other = made
    for file in ("prompts.parquet", "samples/part-small-00000.parquet", "rewards/letters/part-00000.parquet"):
        assert (one / "table" / file).read_bytes() == (other / "table" / file).read_bytes()
    prompts = pd.read_parquet(one / "table/prompts.parquet")
    assert "messages" not in prompts
    assert prompts["prompt_id"][0] == hashlib.sha256(b"apple").hexdigest()[:16]


def test_conversations_without_ids_that_end_alike_are_prompts_of_their_own(collect, tmp_path):
    given(tmp_path, [{"messages": TALK}, {"messages": OTHER}, {"messages": TALK}])
    code, out, _ = collect()
    assert code == 0
    assert "1 of 3 rows repeat a prompt's text and are left out" in out
    assert pd.read_parquet(tmp_path / "table/prompts.parquet")["prompt_id"].is_unique
    assert len(samples(tmp_path)) == 2 * 2 * 3


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (TALK[:3], "does not end in a turn of the role user"),
        ([*TALK[:3], {"role": "tool", "content": "42"}, TALK[3]], "message 4 is of the role tool"),
        ([*TALK[:2], {"role": "assistant", "content": " "}, TALK[3]], "message 3 has no text"),
        ([], "the conversation has no turn of the role user"),
        ([TALK[0]], "the conversation has no turn of the role user"),
        ([{"content": "apple"}], "message 1 has no role"),
    ],
)
def test_a_bad_conversation_is_refused_by_its_row(collect, tmp_path, messages, told):
    given(tmp_path, [ROWS[0], {"prompt_id": "b", "messages": messages}])
    code, _, err = collect()
    assert code == 2
    assert "line 2" in err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "table").exists()


def test_the_text_alone_may_be_sent(collect, tmp_path):
    given(tmp_path, [ROWS[0], {"prompt_id": "b", "messages": [*TALK, {"role": "assistant", "content": "Un pic."}]}])
    with ChatServer(echo) as server:
        code, _, err = collect(*OPENAI, f"engine.base_url={server.url}", "prompts.send=prompt")
    assert code == 0, err
    assert {body["messages"][0]["content"] for body in server.bodies} == {"Another."}
    assert {len(body["messages"]) for body in server.bodies} == {1}


def test_a_collection_of_an_older_erp_goes_on_with_texts_alone(collect, tmp_path):
    """It sent the text that stands for a conversation, and did not say so."""
    given(tmp_path, ROWS)
    assert collect("prompts.send=prompt")[0] == 0
    file = tmp_path / "table/collect.json"
    settings = json.loads(file.read_text())
    del settings["source"]["send"]
    file.write_text(json.dumps(settings))
    for _ in range(2):
        code, out, err = collect()
        assert code == 0, err
        assert "sampled already" in out
        assert "of 2 conversations the text alone is sent" in out


def test_conversations_join_a_collection_of_texts(collect, tmp_path):
    assert collect()[0] == 0
    before = samples(tmp_path)
    with (tmp_path / "prompts.jsonl").open("a") as stream:
        stream.write(json.dumps(ROWS[0]) + "\n")
    assert collect()[0] == 0
    assert "already" in collect()[1]
    after = samples(tmp_path)
    pd.testing.assert_frame_equal(after[after["prompt_id"] != "a"].reset_index(drop=True), before)
    assert (after["prompt_id"] == "a").sum() == 2 * 3
    (tmp_path / "prompts.jsonl").write_text((tmp_path / "prompts.jsonl").read_text().replace("bird", "fish"))
    code, _, err = collect()
    assert code == 2
    assert "1 of the table's are not what they were, or are not there: a" in err


def test_show_prints_the_turns(collect, tmp_path, capsys):
    given(tmp_path, ROWS)
    assert collect()[0] == 0
    show = ["show", "data=table", f"data.path={tmp_path / 'table'}", "prompt_id=a"]
    assert cli.main(show) == 0
    assert capsys.readouterr().out.splitlines()[:5] == [
        "a", "  system: Speak French.", "  user: Name a bird.", "  assistant: Un merle.", "  user: Another."
    ]  # fmt: skip
    assert cli.main([*show, "output=json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompts"][0]["messages"] == TALK


def test_the_plan_counts_every_turn(collect, tmp_path):
    given(tmp_path, [ROWS[0]])
    member = "pool.members=[{name: small, input_usd_per_mtok: 1.0e+6, output_usd_per_mtok: 0}]"
    length = sum(len(turn["content"]) for turn in TALK)
    assert f" {-(-length // 4)}.00 " in collect(member, "dry_run=true", "k=1")[1]


def test_a_conversation_of_no_system_turn_begins_with_the_members():
    said = Member(name="m", system="s").messages(TALK[1:])
    assert [turn["role"] for turn in said] == ["system", "user", "assistant", "user"]
    assert Pair("x", "y").turns == ({"role": "user", "content": "x"},)
