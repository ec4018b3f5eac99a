"""Every Eval Ever: scores that a converter made of nothing are refused; metrics and evaluations are chosen."""

from __future__ import annotations

import json

import pytest

from tests.importers.benchmarks import cells, imported, refused

UUID = "f3a1c0de-4b2e-4c1a-9f6d-1b7e5a2c8d40"


def sample(number=0, score: object = 1.0, correct: object = None, model="org/small", **more):
    """A line, as the schema of instances has it."""
    correct = score == 1 if correct is None else correct
    return {
        "schema_version": "0.3.0",
        "evaluation_id": "gsm8k/org_small/1",
        "model_id": model,
        "evaluation_name": "gsm8k",
        "evaluation_result_id": None,
        "sample_id": str(number),
        "sample_hash": None,
        "interaction_type": "single_turn",
        "input": {"raw": f"question {number}", "reference": ["42"]},
        "output": {"raw": ["It is 42."]},
        "answer_attribution": [],
        "evaluation": {"score": score, "is_correct": correct},
        "token_usage": {"input_tokens": 11, "output_tokens": 4, "total_tokens": 15},
        "error": None,
        "metadata": None,
        **more,
    }


def result(name="gsm8k", id=None, metric="accuracy", **config):
    return {"evaluation_name": name, "evaluation_result_id": id,
            "metric_config": {"lower_is_better": False, "metric_name": metric, **config}}  # fmt: skip


def write(folder, *lines, results=None, uuid=UUID):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{uuid}_samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if results is not None:
        aggregate = {
            "schema_version": "0.3.0",
            "evaluation_id": "gsm8k/org_small/1",
            "evaluation_timestamp": "2026-01-21",
            "eval_library": {"name": "lm_eval", "version": "0.4.9"},
            "evaluation_results": results,
        }
        (folder / f"{uuid}.json").write_text(json.dumps(aggregate))
    return folder


def harness(**metrics):
    return {"lm_eval_metrics": json.dumps(metrics), "filter": "none"}


def test_samples_become_rows(tmp_path):
    path = write(tmp_path / "data", sample(0), sample(1, 0.0), sample(0, 0.0, model="org/large"), results=[result()])
    table, manifest = imported("every_eval_ever", path)
    frame = cells(table, "prompt_tokens", "completion_tokens")
    assert frame["reward"].tolist() == [0.0, 1.0, 0.0]
    assert frame["text"].tolist() == ["question 0", "question 0", "question 1"]
    assert frame[["prompt_tokens", "completion_tokens"]].drop_duplicates().values.tolist() == [[11, 4]]
    (origin,) = manifest["files"]
    assert (origin["harness"], origin["version"], origin["date"]) == ("lm_eval", "0.4.9", "2026-01-21")
    assert not [note for note in manifest["notes"] if "which way" in note]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (sample(1, 0.0, correct=True), "score and is_correct disagree"),
        (sample(1, 1.0, correct=False), "score and is_correct disagree"),
        (sample(1, 0.0, metadata=harness()), "a score that its converter made, of no metric"),
        (sample(1, 0.0, metadata=harness(acc=[0, 1])), "a score that its converter made, of no metric"),
        (sample(1, "good"), "score is no number"),
        (sample(1, evaluation=None), "evaluation is no object"),
        (sample(1, model=None), "model_id is no text"),
        (sample(1, input={"raw": ""}), "input.raw holds no text"),
    ],
)
def test_a_score_of_nothing_is_refused(tmp_path, bad, reason):
    path = write(tmp_path / "data", sample(), bad)
    assert reason in refused("every_eval_ever", path)
    assert sum(imported("every_eval_ever", path, strict=False)[1]["not_understood"].values()) == 1


def test_a_row_that_names_no_result_where_others_do_has_a_score_of_nothing(tmp_path):
    path = write(tmp_path / "data", sample(0, 0.0), sample(1, evaluation_result_id="exact_match:test"))
    assert "a score that its converter made, of no metric" in refused("every_eval_ever", path)


def test_a_metric_that_is_there_may_be_zero(tmp_path):
    path = write(tmp_path / "data", sample(0, 0.0, metadata=harness(acc=0.0)), sample(1, metadata=harness(acc=1)))
    table, manifest = imported("every_eval_ever", path)
    assert cells(table)["reward"].tolist() == [0.0, 1.0]
    assert any("nothing says which way" in note for note in manifest["notes"])


def test_graded_scores_claim_no_correctness(tmp_path):
    graded = result(score_type="continuous", metric="rouge_l")
    path = write(tmp_path / "data", sample(0, 1.0, correct=False), sample(1, 0.3, correct=False), results=[graded])
    assert cells(imported("every_eval_ever", path)[0])["reward"].tolist() == [1.0, 0.3]


def test_lower_that_is_better_is_turned_round(tmp_path):
    path = write(tmp_path / "data", sample(0, 3.5, correct=False), results=[result(lower_is_better=True)])
    table, manifest = imported("every_eval_ever", path)
    assert cells(table)["reward"].tolist() == [-3.5]
    assert any("turned round" in note for note in manifest["notes"])


def test_errors_and_what_is_unknown_are_missing(tmp_path):
    path = write(
        tmp_path / "data",
        sample(0, 0.0, error="timeout"),
        sample(1, -1, correct=False),
        sample(2, None, correct=False),
        sample(3),
        results=[result(score_type="levels", has_unknown_level=True)],
    )
    _, manifest = imported("every_eval_ever", path)
    assert manifest["missing"] == {
        "the evaluation says there was an error": 1, "the score is unknown": 1, "the score is null": 1,
    }  # fmt: skip


def test_several_metrics_are_listed_and_one_is_chosen(tmp_path):
    lines = [sample(i, i / 2, correct=False, evaluation_result_id=id) for i in range(2) for id in ("r1", "r2")]
    lines[1]["evaluation"]["score"] = 0.25
    path = write(tmp_path / "data", *lines, results=[result(id="r1", metric="f1"), result(id="r2", metric="bleu")])
    said = refused("every_eval_ever", path)
    assert "source.metric = null: gsm8k has several; they are bleu, f1, r1, r2; name one" in said
    assert "there is no such" in refused("every_eval_ever", path, metric="acc")
    table, manifest = imported("every_eval_ever", path, metric="bleu")
    assert cells(table)["reward"].tolist() == [0.25, 0.5]
    assert manifest["left_out"] == {"of a metric that was not chosen": 2}
    assert manifest["reward_models"] == ["bleu"]


def test_one_of_the_harness_metrics_may_be_the_reward(tmp_path):
    path = write(tmp_path / "data", sample(0, 0.0, metadata=harness(acc=0.0, acc_norm=1.0)))
    assert cells(imported("every_eval_ever", path, metric="acc_norm")[0])["reward"].tolist() == [1.0]


def test_evaluations_are_chosen(tmp_path):
    lines = [sample(i, evaluation_name=f"gsm8k/{filter}") for i in range(2) for filter in ("strict", "flexible")]
    path = write(tmp_path / "data", *lines)
    assert "there are gsm8k/flexible, gsm8k/strict" in refused("every_eval_ever", path, evaluation=["gsm8k"])
    table, manifest = imported("every_eval_ever", path, evaluation="gsm8k/strict")
    assert len(table.prompts) == 2
    assert manifest["left_out"] == {"of an evaluation that was not chosen": 2}


def test_epochs_are_samples(tmp_path):
    path = write(tmp_path / "data", *[sample(0, metadata={"epoch": str(epoch)}) for epoch in (1, 2)])
    _, manifest = imported("every_eval_ever", path)
    assert manifest["samples_per_cell"] == [2, 2]
    assert any("has epochs" in note for note in manifest["notes"])


def test_aggregates_alone_are_no_table(tmp_path):
    write(tmp_path / "data", results=[result()])
    (tmp_path / "data" / f"{UUID}_samples.jsonl").unlink()
    assert "holds no file *_samples.jsonl" in refused("every_eval_ever", tmp_path / "data")
