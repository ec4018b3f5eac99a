"""Logs of Inspect as a reward table, and each of their traps."""

import math
import zipfile

import pytest

import erp
from erp.errors import ErpError
from erp.importers.files import find
from erp.importers.inspect_ai.samples import InspectAi
from erp.importers.ledger import Ledger
from erp.table.read import read_table
from tests.importers.inspect_logs import CREATED, LATER, chunked, header, monolith, packed, sample, write


def read(folder, **options):
    ledger = Ledger()
    return list(InspectAi(**options).rows(find(str(folder), InspectAi.patterns), ledger)), ledger


def refused(folder, **options):
    with pytest.raises(ErpError) as caught:
        read(folder, **options)
    return str(caught.value)


def rewards(rows):
    return [row["reward"] for row in rows]


LONG = "Count the words. " + "word " * 2000


@pytest.mark.parametrize(
    ("name", "layout", "zstd"),
    [
        ("a.eval", monolith, True),
        ("a.eval", monolith, False),
        ("a.eval", chunked, True),
        ("a.eval", chunked, False),
        ("a.json", None, True),
    ],
)
def test_every_layout_gives_the_same_rows(tmp_path, name, layout, zstd):
    chat = [{"role": "system", "content": "You count."}, {"role": "user", "content": "attachment://a1b2"}]
    samples = [
        sample(1, 1, "C"), sample("a/b", 1, "I", choices=["x", "y"]),
        sample("long", 2, 0.5, input=chat, attachments={"unused": "no", "a1b2": LONG}),
    ]  # fmt: skip
    write(tmp_path, samples, name=name, layout=layout, zstd=zstd)
    rows, ledger = read(tmp_path)
    assert [(row["prompt_id"], row["sample"], row["reward"]) for row in rows] == [
        ("echo/1", 0, 1.0), ("echo/a/b", 0, 0.0), ("echo/long", 1, 0.5)]  # fmt: skip
    assert [row["prompt"] for row in rows] == ["Say the word w1", "Say the word wa/b\n\nA) x\nB) y", LONG]
    assert {(row["model"], row["category"], row["response"], row["finish_reason"]) for row in rows} == {
        ("mockllm/small", "echo", "w", "stop")}  # fmt: skip
    assert not ledger.faults
    origin = ledger.origins[0]
    assert (origin["harness"], origin["version"], origin["metric"], origin["date"]) == (
        "inspect-ai", "0.3.285", "match", CREATED)  # fmt: skip


def test_an_epoch_is_a_sample(tmp_path):
    write(tmp_path, [sample(1, epoch, "CIPN"[epoch - 1]) for epoch in range(1, 5)])
    table = read_table(erp.import_table("inspect", tmp_path, out=str(tmp_path / "t")).folder)
    assert table.samples.sort_values("sample")[["sample", "reward"]].to_numpy().tolist() == [
        [0, 1.0], [1, 0.0], [2, 0.5], [3, 0.0]]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reward"),
    [("C", 1), ("I", 0), ("P", 0.5), ("N", 0), (True, 1), (False, 0), ("yes", 1), ("No", 0), ("true", 1),
     ("0.25", 0.25), (3, 3), (math.nan, None), (None, None), (math.inf, None)],
)  # fmt: skip
def test_what_a_score_is_worth(tmp_path, value, reward):
    write(tmp_path, [sample(1, value=value)])
    row = read(tmp_path)[0][0]
    assert row["reward"] == reward
    assert (row["unscored"] is None) == (reward is not None)


def test_grades_of_a_scorers_own_are_faults_until_somebody_says_what_they_are_worth(tmp_path):
    write(tmp_path, [sample(1, value="A"), sample(2, value="B"), sample(3)])
    assert read(tmp_path)[1].faults == {"match is no number": 2}
    assert rewards(read(tmp_path, values={"A": 1.0, "B": 0.5})[0]) == [1.0, 0.5, 1.0]


def test_what_the_grader_failed_at_is_missing_and_not_wrong(tmp_path):
    reason = {"match": {"value": "I", "reason": "grader_failed"}}
    earlier = {"match": {"value": "I", "explanation": "Grade not found in model output: I cannot"}}
    metadata = {"match": {"value": "I", "metadata": {"unscored_reason": "scoring_failed"}}}
    refusal = {"match": {"value": "I", "reason": "refusal"}}  # of the model: it is wrong
    write(tmp_path, [sample(n, scores=s) for n, s in enumerate((reason, earlier, metadata, refusal, {}))] + [sample(9)])
    rows, _ = read(tmp_path)
    assert rewards(rows) == [None, None, None, 0.0, None, 1.0]
    assert [row["unscored"] for row in rows[:5]] == [*["the grader failed"] * 3, None, "the scorer said nothing"]


def test_an_error_is_missing_even_where_it_was_scored(tmp_path):
    failed = {"message": "RuntimeError('the sandbox broke')\nmore", "traceback": "", "traceback_ansi": ""}
    write(tmp_path, [sample(1), sample(2, value="I", error=failed), sample(3, invalidation={"author": "me"})])
    rows, _ = read(tmp_path)
    assert rewards(rows) == [1.0, None, None]
    assert rows[1]["error"] == "RuntimeError('the sandbox broke')"
    assert rows[2]["unscored"] == "the sample was declared invalid"
    imported = erp.import_table("inspect", tmp_path, out=str(tmp_path / "t"))
    assert imported.manifest["import"]["coverage"] == {
        "mockllm/small": {"echo": {"scored": 1, "missing": 1, "errors": 1}}
    }


def test_several_scorers_are_listed_and_one_is_chosen(tmp_path):
    both = {"match": {"value": "C"}, "choice": {"value": "I"}}
    write(tmp_path, [sample(1, scores=both)])
    write(tmp_path, [sample(1)], header(task="other"), "other.eval")
    assert "source.scorer = null: echo has several, match, choice; choose with source.scorer=<name>" in refused(
        tmp_path
    )
    assert rewards(read(tmp_path, scorer="choice")[0]) == [0.0, 1.0]
    assert "nothing has chocie; there are choice, match" in refused(tmp_path, scorer=["choice", "chocie"])


def test_the_part_of_a_score_is_chosen(tmp_path):
    parts = [{"short": 0.25, "kind": 1}, {"short": None, "kind": 0}, math.nan]
    write(tmp_path, [sample(n, value=value) for n, value in enumerate(reversed(parts))])
    assert "source.key = null: echo, match has several, short, kind" in refused(tmp_path)
    rows, ledger = read(tmp_path, key="short")
    assert rewards(rows) == [None, None, 0.25]
    assert ledger.origins[0]["metric"] == "match.short"


def test_a_score_that_is_a_list_is_none(tmp_path):
    write(tmp_path, [sample(1), sample(2, value=[1, 0])])
    rows, ledger = read(tmp_path)
    assert rewards(rows) == [1.0]
    assert ledger.faults == {"a score is no number": 1}
    with pytest.raises(ErpError, match=r"1 rows: a score is no number; first: one.eval, 2_epoch_1: match = \[1, 0\]"):
        erp.import_table("inspect", tmp_path, out=str(tmp_path / "t"))


@pytest.mark.parametrize("status", ["cancelled", "error", "started"])
def test_a_log_that_was_not_finished_is_refused_or_said(tmp_path, status):
    if status == "started":
        (tmp_path / "cut.eval").write_bytes(packed({k: v for k, v in monolith(header(), [sample(1)]).items()
                                                    if k != "header.json"}))  # fmt: skip
    else:
        write(tmp_path, [sample(1)], header(status=status), "cut.eval")
    assert f"1 logs were not finished: cut.eval ({status})" in refused(tmp_path)
    rows, ledger = read(tmp_path, partial=True)
    assert rewards(rows) == [1.0]
    assert ledger.notes == [f"1 logs were not finished and hold some of their samples: cut.eval ({status})"]


def test_a_finished_log_takes_the_place_of_unfinished_and_earlier_ones(tmp_path):
    write(tmp_path, [sample(1, value="I"), sample(2)], header(), "a.eval")
    write(tmp_path, [sample(1)], header(created=LATER), "b.eval")
    write(tmp_path, [sample(1, value="I")], header(created="2026-12-01T00:00:00+00:00", status="cancelled"), "c.eval")
    rows, ledger = read(tmp_path)
    assert rewards(rows) == [1.0]
    assert ledger.left_out == {"of an earlier run of the same task by the same member": 3}
    assert len(ledger.origins) == 3


def test_tokens_of_caches_are_counted_and_a_graders_are_not(tmp_path):
    usage = {
        "mockllm/small": {"input_tokens": 100, "output_tokens": 30, "input_tokens_cache_read": 50, "total_cost": 0.5},
        "mockllm/judge": {"input_tokens": 900, "output_tokens": 900},
    }
    own = {"grader": {"input_tokens": 60, "output_tokens": 20, "total_cost": 0.25}}
    roles = {"grader": {"model": "mockllm/small"}}
    write(tmp_path, [sample(1), sample(2, model_usage=usage), sample(3, model_usage=usage, role_usage=own)],
          header(model_roles=roles))  # fmt: skip
    rows, _ = read(tmp_path)
    assert [(row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) for row in rows] == [
        (17, 3, None), (150, 30, 0.5), (90, 10, 0.25)]  # fmt: skip


def test_the_member_of_a_task_that_calls_models_by_role_is_chosen(tmp_path):
    roles = {"solver": {"model": "mockllm/small"}, "grader": {"model": "mockllm/judge"}}
    used = {"solver": {"input_tokens": 7, "output_tokens": 1}, "grader": {"input_tokens": 70, "output_tokens": 10}}
    write(tmp_path, [sample(1, role_usage=used)], header(model="none/none", model_roles=roles))
    assert "source.role = null: one.eval calls its models by role; choose one of solver, grader" in refused(tmp_path)
    assert "has no one model in that role" in refused(tmp_path, role="judge")
    row = read(tmp_path, role="solver")[0][0]
    assert (row["model"], row["prompt_tokens"], row["completion_tokens"]) == ("mockllm/small", 7, 1)


def test_one_model_with_two_settings_is_two_members(tmp_path):
    cold, hot = ({"temperature": t, "max_connections": 4 + t} for t in (0, 1))
    write(tmp_path, [sample(1)], header(model_generate_config=cold), "a.eval")
    write(tmp_path, [sample(1, value="I")], header(model_generate_config=hot), "b.eval")
    assert (
        "mockllm/small ran echo with different settings: a.eval with temperature=0, b.eval with temperature=1"
        in refused(tmp_path)
    )
    rows, _ = read(tmp_path, member="settings")
    assert {row["model"]: row["reward"] for row in rows} == {
        "mockllm/small (temperature=0)": 1.0, "mockllm/small (temperature=1)": 0.0}  # fmt: skip


def test_members_whose_samples_went_through_other_solvers_are_refused_or_noted(tmp_path):
    for name, steps in (("a", []), ("b", [{"solver": "few_shot", "params": {"n": 3}}])):
        facts = header(f"mockllm/{name}")
        facts["plan"]["steps"] = [*steps, {"solver": "generate", "params": {}}]
        write(tmp_path, [sample(1)], facts, f"{name}.eval")
    said = "mockllm/a was asked echo with step 1 'generate()', no step 2, mockllm/b with step 1 'few_shot(n=3)'"
    assert f"source.style = same: {said}" in refused(tmp_path)
    rows, ledger = read(tmp_path, style="any")
    assert len(rows) == 2
    assert ledger.notes[0].startswith(f"members were asked in different ways: {said}")


def test_the_score_of_a_first_release_is_read(tmp_path):
    held = {key: value for key, value in sample(1).items() if key != "scores"}
    write(tmp_path, [{**held, "score": {"value": "C"}}])
    assert rewards(read(tmp_path)[0]) == [1.0]


def test_arguments_of_a_task_are_part_of_its_name(tmp_path):
    write(tmp_path, [sample(1)], header(task_args_passed={"subset": "hard", "n": 3}), "a.eval")
    write(tmp_path, [sample(1)], header(), "b.eval")
    assert [row["prompt_id"] for row in read(tmp_path)[0]] == ["echo(n=3,subset=hard)/1", "echo/1"]


def test_the_gold_answer_is_nowhere_and_the_prompt_is_what_the_user_says_last(tmp_path):
    chat = [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "Say w"}, {"type": "image", "image": "data:x"}]},
    ]  # fmt: skip
    write(tmp_path, [sample(1, input=chat)])
    row = read(tmp_path)[0][0]
    assert row["prompt"] == "Say w"
    assert "gold1" not in str(row)
    assert read(tmp_path, prompt="whole")[0][0]["prompt"] == "user: Hello\n\nassistant: Hi\n\nuser: Say w"


def test_other_json_files_are_left_out_and_alone_refused(tmp_path):
    (tmp_path / "logs.json").write_text("{}")
    assert "holds no log of Inspect" in refused(tmp_path)
    write(tmp_path, [sample(1)])
    rows, ledger = read(tmp_path)
    assert (rewards(rows), ledger.left_out) == ([1.0], {"json files that are no logs": 1})


def test_logs_in_an_archive_are_read(tmp_path):
    write(tmp_path / "logs", [sample(1)])
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "logs" / "one.eval", "logs/one.eval")
    assert rewards(read(tmp_path / "all.zip")[0]) == [1.0]


def test_a_damaged_sample_is_a_fault_and_the_others_are_read(tmp_path):
    file = write(tmp_path, [sample(1), sample(2)])
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"samples/2_epoch_1.json") + 60] ^= 255
    file.write_bytes(raw)
    rows, ledger = read(tmp_path)
    assert rewards(rows) == [1.0]
    assert ledger.faults == {"a sample cannot be read": 1}
