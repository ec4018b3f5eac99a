"""Logs of lm-evaluation-harness as a reward table, and each of their traps."""

import json
from collections import defaultdict

import pytest

import erp
from erp.errors import ErpError
from tests.importers.lm_eval_logs import (
    CHAT,
    DATE,
    DOCS,
    EXAMPLES,
    LATER,
    asked,
    doc_hash,
    plain,
    read,
    refused,
    results,
    sample,
    write,
)


def means(rows):
    found = defaultdict(list)
    for row in rows:
        found[row["model"], row["category"]].append(row["reward"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def test_a_member_is_called_what_its_results_say(tmp_path):
    write(tmp_path, "org/a model:v=1 'x' 🙂", plain([1.0, 0.0]))
    rows, ledger = read(tmp_path)
    assert {row["model"] for row in rows} == {"org/a model:v=1 'x' 🙂"}
    assert [row["reward"] for row in rows] == [1.0, 0.0]
    assert rows[0]["response"] == "It is 0"
    origin = ledger.origins[0]
    said = {name: origin[name] for name in ("harness", "version", "metric", "filter", "date", "task")}
    assert list(said.values()) == ["lm-eval", "0.4.13", "acc", "none", DATE, "sums"]


def test_several_filters_are_listed_and_one_is_chosen(tmp_path):
    figures = {"exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1, "exact_match,flexible": 1.0}
    facts = results("m", higher={"exact_match": True}, figures=figures)
    lines = plain([1.0, 0.0], "strict", "exact_match") + plain([1.0, 1.0], "flexible", "exact_match")
    write(tmp_path, "m", lines, facts=facts)
    said = refused(tmp_path)
    assert said.startswith("source.filter = null: sums has several, strict, flexible;")
    rows, ledger = read(tmp_path, filter="flexible")
    assert means(rows) == {("m", "sums"): 1.0}
    assert ledger.left_out == {"of a filter that was not chosen": 2}
    assert "source.filter = none: sums has several" in refused(tmp_path, filter="none")
    assert "source.filter = flexible, none: nothing has none" in refused(tmp_path, filter=["flexible", "none"])


def test_filters_are_found_where_no_results_list_them(tmp_path):
    write(tmp_path, "m", plain([1.0], "strict") + plain([0.0], "flexible"), facts=False)
    assert "sums has several, strict, flexible" in refused(tmp_path, higher_is_better=True)


def test_several_metrics_are_listed_and_the_first_preferred_that_a_task_has_is_read(tmp_path):
    lines = [sample(0, DOCS[0], asked(DOCS[0]), acc=0.0, acc_norm=1.0)]
    write(tmp_path, "m", lines, facts=results("m", higher={"acc": True, "acc_norm": True}))
    write(
        tmp_path, "m", plain([1.0], metric="exact_match"), "other", LATER, results("m", "other", {"exact_match": True})
    )
    assert "source.metric = null: sums has several, acc, acc_norm" in refused(tmp_path)
    rows, ledger = read(tmp_path, metric=["acc_norm", "acc"])
    assert means(rows) == {("m", "sums"): 1.0, ("m", "other"): 1.0}
    assert "rewards are of several scores: acc_norm, exact_match; their units may differ" in ledger.notes


@pytest.mark.parametrize("value", [[-12.5, 7], [0, "[0.2 0.8]"], {"a": 1}])
def test_a_metric_of_parts_is_no_score(tmp_path, value):
    write(tmp_path, "m", [sample(0, DOCS[0], asked(DOCS[0]), acc=1.0, word_perplexity=value)])
    assert means(read(tmp_path)[0]) == {("m", "sums"): 1.0}
    assert "no score of one" in refused(tmp_path, metric="word_perplexity")
    write(tmp_path, "m", [sample(0, DOCS[0], asked(DOCS[0]), word_perplexity=value)])
    assert "no score of one" in refused(tmp_path)


def test_a_later_row_that_holds_parts_is_a_fault(tmp_path):
    write(tmp_path, "m", [*plain([1.0]), sample(1, DOCS[1], asked(DOCS[1]), acc=[1, 2])])
    rows, ledger = read(tmp_path)
    assert len(rows) == 1
    assert ledger.faults == {"acc is no number": 1}
    assert ledger.places["acc is no number"][0].endswith(f"samples_sums_{DATE}.jsonl line 2: acc = [1, 2]")


def test_a_run_told_to_score_nothing_has_no_scores(tmp_path):
    write(tmp_path, "m", plain([None], metric="bypass"))
    assert "has no metric" in refused(tmp_path)


def test_numbers_that_numpy_made_texts_of_are_numbers_and_null_is_missing(tmp_path):
    write(tmp_path, "m", plain(["0.25", "True", None, "none at all"]))
    rows, ledger = read(tmp_path)
    assert [row["reward"] for row in rows] == [0.25, 1.0, None]
    assert rows[2]["unscored"] == "the metric is null or NaN"
    assert ledger.faults == {"acc is no number": 1}


def test_what_is_better_where_lower_is_turned_round(tmp_path):
    write(tmp_path, "m", plain([2.0, 3.0], metric="ter"), facts=results("m", higher={"ter": False}))
    rows, ledger = read(tmp_path)
    assert [row["reward"] for row in rows] == [-2.0, -3.0]
    assert "ter of sums is better where it is lower: its sign is turned round" in ledger.notes


def test_without_results_somebody_must_say_which_way_a_metric_points(tmp_path):
    write(tmp_path, "org/m", plain([2.0], metric="ter"), facts=False)
    assert "source.higher_is_better = null: nothing says which way ter of sums points" in refused(tmp_path)
    rows, _ = read(tmp_path, higher_is_better=False)
    assert [(row["model"], row["reward"]) for row in rows] == [("org__m", -2.0)]


def test_the_latest_run_counts_and_earlier_ones_are_counted(tmp_path):
    write(tmp_path, "m", plain([0.0, 0.0, 0.0]))
    write(tmp_path, "m", plain([1.0, 1.0]), date=LATER)
    rows, ledger = read(tmp_path)
    assert [row["reward"] for row in rows] == [1.0, 1.0]
    assert ledger.left_out == {"of an earlier run of the same task by the same member": 3}
    assert len(ledger.origins) == 2  # the table may be imported again into the same folder


def test_runs_of_one_model_in_two_folders_are_told_apart(tmp_path):
    write(tmp_path / "greedy", "m", plain([0.0]))
    write(tmp_path / "sampled", "m", plain([1.0]), date=LATER)
    assert "m ran sums in 2 folders" in refused(tmp_path)
    rows, _ = read(tmp_path, member="folder")
    assert means(rows) == {("greedy/m", "sums"): 0.0, ("sampled/m", "sums"): 1.0}


def test_results_named_after_a_json_path_lie_beside_samples_of_several_models(tmp_path):
    home = write(tmp_path, "run", plain([1.0]), facts=False)
    (home / f"mine_{DATE}.json").write_text(json.dumps(results("org/a")))
    write(tmp_path, "run", plain([0.0]), date=LATER, facts=False)
    (home / f"mine_{LATER}.json").write_text(json.dumps(results("org/b")))
    assert means(read(tmp_path)[0]) == {("org/a", "sums"): 1.0, ("org/b", "sums"): 0.0}


def test_documents_are_joined_by_hash_whatever_their_number_and_template(tmp_path):
    write(tmp_path, "base", plain([1.0, 0.0]))
    turned = [
        sample(7 - i, DOCS[i], f"<|user|>\nQ: {DOCS[i]['question']}\nA:<|end|>\n<|assistant|>\n", acc=1.0)
        for i in (1, 0)
    ]
    write(tmp_path, "chat", turned, facts=results("chat", chat_template=CHAT))
    rows, _ = read(tmp_path)
    assert len({row["prompt_id"] for row in rows}) == 2
    assert {row["prompt"] for row in rows} == {asked(DOCS[0]), asked(DOCS[1])}
    erp.import_table("lm_eval", tmp_path, out=str(tmp_path / "table"))
    with pytest.raises(ErpError, match="members were asked different texts of 2 documents"):
        erp.import_table("lm_eval", tmp_path, prompt="whole", out=str(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"shots": 2}, "a was asked sums with examples 0, b with examples 2"),
        (
            {"config": {"description": "Do sums."}},
            "a was asked sums with no description, b with description 'Do sums.'",
        ),
        (
            {"system_instruction": "Be brief."},
            "a was asked sums with no system prompt, b with system prompt 'Be brief.'",
        ),
    ],
)
def test_members_that_were_asked_in_different_ways_are_refused_or_noted(tmp_path, more, said):
    write(tmp_path, "a", plain([1.0, 0.0, 1.0, 1.0]))
    others = [sample(i, doc, f"{EXAMPLES}{asked(doc)}", acc=1.0) for i, doc in enumerate(DOCS)]
    write(tmp_path, "b", others, facts=results("b", **more))
    told = refused(tmp_path).splitlines()
    assert told[0].startswith(f"source.style = same: {said}; another few-shot or system prompt makes another task;")
    assert [line.split(":")[0] for line in told[1:]] == [f"prompt_id sums/{doc_hash(doc)}" for doc in DOCS[:3]]
    assert "Do sums." in told[1]
    rows, ledger = read(tmp_path, style="any")
    assert {row["prompt"] for row in rows} == {asked(doc) for doc in DOCS}
    assert ledger.notes == [f"members were asked in different ways: {said}"]


def test_a_document_that_stands_twice_in_a_task_is_two_samples(tmp_path):
    write(tmp_path, "m", [sample(0, DOCS[0], asked(DOCS[0]), acc=1.0), sample(9, DOCS[0], asked(DOCS[0]), acc=0.0)])
    rows, _ = read(tmp_path)
    assert [(row["sample"], row["reward"]) for row in rows] == [(0, 1.0), (1, 0.0)]
    assert rows[0]["prompt_id"] == rows[1]["prompt_id"]


def test_a_document_without_its_hash_gets_the_same_one(tmp_path):
    line = plain([1.0])[0]
    write(tmp_path, "new", [line])
    write(tmp_path, "old", [{k: v for k, v in line.items() if k != "doc_hash"}])
    assert len({row["prompt_id"] for row in read(tmp_path)[0]}) == 1


def test_a_score_of_several_responses_is_one_sample_without_a_response(tmp_path):
    lines = plain([1.0])
    lines[0]["resps"] = [["2", "4", "2"]]
    write(tmp_path, "m", lines)
    rows, ledger = read(tmp_path)
    assert "response" not in rows[0]
    assert ledger.notes == ["each score of sums is of what filter none made of 3 responses"]


def test_what_is_no_logs_of_samples_is_told(tmp_path):
    (tmp_path / f"results_{DATE}.json").write_text(json.dumps(results("m")))
    assert "--log_samples" in refused(tmp_path)
    (tmp_path / f"results_{DATE}.json").write_text("[1]")
    assert "holds no results of lm-eval" in refused(tmp_path)
