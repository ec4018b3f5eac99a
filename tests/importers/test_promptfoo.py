"""promptfoo's results: what failed is missing, and a provider under several prompts is several members."""

from __future__ import annotations

import json

import pytest

from tests.importers.benchmarks import cells, imported, refused

ASSERT = [{"type": "contains", "value": "x"}]


def graded(score, *parts, reason="All assertions passed", passed=None):
    passed = score >= 0.5 if passed is None else passed
    return {"pass": passed, "score": score, "reason": reason, "componentResults": list(parts)}


def result(question="1+1?", provider="openai:small", score: object = 1.0, label="{{q}}", index=0, test=0, **more):
    """One of ``results.results``, as promptfoo writes it."""
    return {
        "cost": 0.002,
        "gradingResult": graded(1.0),
        "id": f"{provider}-{question}-{index}-{test}",
        "latencyMs": 120,
        "namedScores": {},
        "prompt": {"raw": label.replace("{{q}}", question), "label": label},
        "promptId": "a" * 64,
        "promptIdx": index,
        "provider": {"id": provider, "label": ""},
        "response": {"output": "two", "tokenUsage": {"prompt": 7, "completion": 2, "total": 9}, "finishReason": "stop"},
        "score": score,
        "success": True,
        "testCase": {"vars": {"q": question}, "assert": ASSERT, "metadata": {"category": "sums"}},
        "testIdx": test,
        "vars": {"q": question},
        "metadata": {},
        "failureReason": 0,
        **more,
    }


def write(path, *results, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {"version": 3, "timestamp": "2026-09-25T10:01:00.000Z", "prompts": [], "results": list(results)}
    document = {"evalId": "eval-1", "results": summary, "config": {"description": "sums"}, "shareableUrl": None,
                "metadata": {"promptfooVersion": "0.123.1"}, **more}  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def test_results_become_rows_with_tokens_costs_and_where_they_come_from(tmp_path):
    path = write(
        tmp_path / "results.json",
        result(),
        result("2+2?", score=0.25, failureReason=1, success=False),
        result(provider="openai:large", index=1, cost=0),
    )
    table, manifest = imported("promptfoo", path)
    frame = cells(table, "prompt_tokens", "completion_tokens", "cost_usd")
    assert frame["reward"].tolist() == [1.0, 1.0, 0.25]
    assert frame["text"].tolist() == ["1+1?", "1+1?", "2+2?"]
    assert frame["category"].unique().tolist() == ["sums"]
    assert frame["prompt_tokens"].tolist() == [7, 7, 7]
    assert frame["cost_usd"].isna().tolist() == [True, False, False]  # a cost of 0 beside a response is not told
    (origin,) = manifest["files"]
    assert {key: origin[key] for key in ("harness", "version", "date", "task", "metric")} == {
        "harness": "promptfoo", "version": "0.123.1", "date": "2026-09-25T10:01:00.000Z", "task": "sums",
        "metric": "score",
    }  # fmt: skip


def test_failed_calls_and_failed_graders_are_missing_and_a_failed_assertion_is_zero(tmp_path):
    said = "Could not extract JSON from llm-rubric response"
    path = write(
        tmp_path / "results.json",
        result("a", score=0, success=False, failureReason=1, gradingResult=graded(0, reason="Expected x")),
        result("b", score=0, success=False, failureReason=2, error="429", gradingResult=None,
               response={"error": "429"}),
        result("c", score=0.5, failureReason=1,
               gradingResult=graded(0.5, graded(1), {"pass": False, "score": 0, "reason": "HTTP 503",
                                                     "metadata": {"graderError": True}})),
        result("d", score=0, failureReason=1, gradingResult=graded(0, graded(0, reason=said), reason=said)),
        result("e", score=0, failureReason=1, gradingResult=graded(0, graded(0, graded(0, reason="No output")))),
    )  # fmt: skip
    table, manifest = imported("promptfoo", path)
    assert cells(table).dropna()["reward"].tolist() == [0.0]
    assert manifest["missing"] == {"the call or its grading failed": 1, "the grader failed": 3}
    assert manifest["coverage"]["openai:small"]["sums"] == {"scored": 1, "missing": 0, "errors": 4}


def test_before_failure_reasons_were_written_a_call_without_grading_failed(tmp_path):
    old = result("b", score=0, success=False, error="timeout", gradingResult=None)
    del old["failureReason"]
    _, manifest = imported("promptfoo", write(tmp_path / "results.json", result(), old))
    assert manifest["missing"] == {"the call or its grading failed": 1}


def test_a_test_without_assertions_has_no_score(tmp_path):
    bare = {"pass": True, "score": 1, "reason": "No assertions", "tokensUsed": {"total": 0}}
    path = write(tmp_path / "results.json", result(), result("b", gradingResult=bare))
    _, manifest = imported("promptfoo", path)
    assert manifest["missing"] == {"the test has no assertion": 1}


def test_one_provider_under_several_prompts_is_several_members(tmp_path):
    path = write(
        tmp_path / "results.json",
        *[result(q, label=label, index=i, score=i / 2)
          for q in ("a", "b") for i, label in enumerate(["{{q}}", "Think. {{q}}"])],
        *[result(q, provider="openai:large", index=2) for q in ("a", "b")],
    )  # fmt: skip
    assert "were asked different texts" in refused("promptfoo", path)
    table, _ = imported("promptfoo", path, prompts="from:openai:large")
    assert table.members == ("openai:large", "openai:small (Think. {{q}})", "openai:small ({{q}})")
    frame = cells(table)
    assert frame[frame["model"] == "openai:small (Think. {{q}})"]["reward"].tolist() == [0.5, 0.5]


def test_one_provider_and_prompt_with_several_settings_is_several_members(tmp_path):
    path = write(tmp_path / "results.json", result("a"), result("a", index=1, score=0))
    table, _ = imported("promptfoo", path)
    assert table.members == ("openai:small #1", "openai:small #2")


def test_labels_that_are_alike_where_they_are_cut_stay_apart(tmp_path):
    long = ["x" * 40 + middle + "y" * 40 + "{{q}}" for middle in ("1", "2")]
    path = write(tmp_path / "results.json", *[result("a", label=text, index=i) for i, text in enumerate(long)])
    assert refused("promptfoo", path).count("openai:small (") >= 2


def test_repeats_of_one_evaluation_are_samples(tmp_path):
    path = write(tmp_path / "results.json", *[result("a", test=i, score=s) for i, s in enumerate([1, 0, 0, 1])])
    table, manifest = imported("promptfoo", path)
    assert manifest["samples_per_cell"] == [4, 4]
    assert cells(table)["reward"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(("metric", "rewards"), [("success", [1.0, 0.0]), ("tone", [0.75])])
def test_another_metric_is_the_reward(tmp_path, metric, rewards):
    path = write(
        tmp_path / "results.json",
        result("a", score=0.9, namedScores={"tone": 0.75}),
        result("b", score=0.9, success=False, failureReason=1),
    )
    table, manifest = imported("promptfoo", path, metric=metric)
    assert cells(table).dropna()["reward"].tolist() == rewards
    assert manifest["reward_models"] == [metric]


def test_a_conversation_asks_its_last_user_turn(tmp_path):
    chat = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}])
    path = write(tmp_path / "results.json", result(prompt={"raw": chat, "label": "chat"}))
    table, _ = imported("promptfoo", path)
    assert table.prompts["prompt"].tolist() == ["1+1?"]


def test_lines_are_read_as_results(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(result(q)) + "\n" for q in "abc"))
    table, _ = imported("promptfoo", path)
    assert len(table.prompts) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"provider": None}, "no provider"),
        ({"prompt": {"raw": "[prompt stripped]", "label": ""}}, "the prompt's text was stripped"),
        ({"prompt": 3}, "prompt holds no text"),
        ({"score": "good"}, "reward: not a number"),
    ],
)
def test_what_is_no_result_stops_the_import(tmp_path, change, reason):
    path = write(tmp_path / "results.json", result("a"), {**result("b"), **change})
    assert reason in refused("promptfoo", path)
    assert sum(imported("promptfoo", path, strict=False)[1]["not_understood"].values()) == 1


def test_another_json_file_is_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"results": {"gsm8k": {"acc": 0.5}}}')
    assert "not a file of promptfoo's results" in refused("promptfoo", path)
