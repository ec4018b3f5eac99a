"""LiteLLM's spend logs: who failed is an error, who has no score is missing, and the table is observational."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import cells, imported, refused


def request(number=0, score: object = 0.5, question="1+1?", model="openai/small", **more):
    """A row of the spend logs of a proxy that stores prompts."""
    return {
        "request_id": f"chatcmpl-{number}",
        "call_type": "acompletion",
        "api_key": "hash",
        "spend": 0.00033,
        "total_tokens": 30,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "startTime": "2026-08-27T12:37:44.874000Z",
        "model": model,
        "model_group": "fast",
        "cache_hit": "False",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "two"}}]},
        "metadata": {"spend_logs_metadata": None if score is None else {"score": score, "task": "sums"}},
        "proxy_server_request": "{}",
        "status": "success",
        **more,
    }


def write(path, *rows):
    text = json.dumps(rows, indent=1) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["logs.json", "logs.jsonl"])
def test_requests_become_rows_of_an_observational_table(tmp_path, name):
    path = write(tmp_path / name, request(0), request(1, 1.0, "2+2?", "openai/large"))
    table, manifest = imported("litellm", path, category="metadata.spend_logs_metadata.task")
    assert table.observational
    assert manifest["observational"] is True
    assert any(note.startswith("observational") for note in manifest["notes"])
    frame = cells(table, "prompt_tokens", "completion_tokens", "cost_usd")
    assert frame[["category", "text", "model", "reward"]].values.tolist() == [
        ["sums", "1+1?", "openai/small", 0.5], ["sums", "2+2?", "openai/large", 1.0],
    ]  # fmt: skip
    assert frame[["prompt_tokens", "completion_tokens", "cost_usd"]].drop_duplicates().values.tolist() == [
        [10, 20, 0.00033]
    ]


def test_failed_requests_are_errors_and_unscored_ones_missing(tmp_path):
    failed = request(1, None, status="failure", response="{}", spend=0, completion_tokens=0,
                     metadata={"status": "failure", "error_information": {"error_code": "429"}})  # fmt: skip
    path = write(tmp_path / "logs.jsonl", request(0), failed, request(2, None, "2+2?"))
    _, manifest = imported("litellm", path)
    assert manifest["missing"] == {"the request failed": 1, "no score": 1}
    assert manifest["coverage"]["openai/small"]["(none)"] == {"scored": 1, "missing": 1, "errors": 1}


def test_newer_logs_keep_the_prompt_in_the_request_as_text(tmp_path):
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi?"}]}]})
    path = write(tmp_path / "logs.jsonl", request(messages="{}", proxy_server_request=body, metadata='{"score": 1}'))
    table, _ = imported("litellm", path)
    assert table.prompts["prompt"].tolist() == ["Hi?"]
    assert cells(table)["reward"].tolist() == [1.0]


def test_a_csv_of_the_database_is_read_with_a_column_of_scores(tmp_path):
    row = request(metadata="{}")
    row = {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
    pd.DataFrame([{**row, "rating": 0.25}]).to_csv(tmp_path / "logs.csv", index=False)
    table, manifest = imported("litellm", tmp_path / "logs.csv", score="rating")
    assert cells(table, "cost_usd")[["reward", "cost_usd"]].values.tolist() == [[0.25, 0.00033]]
    assert manifest["reward_models"] == ["rating"]


def test_without_any_score_the_key_is_named(tmp_path):
    path = write(tmp_path / "logs.jsonl", request(0, None))
    said = refused("litellm", path)
    assert "source.score = null: no request has a score at score, metadata.spend_logs_metadata.score" in said


def test_the_same_text_asked_again_is_a_sample_and_the_same_request_is_read_once(tmp_path):
    write(tmp_path / "a.jsonl", request(0), request(1, 1.0))
    path = write(tmp_path / "b.jsonl", request(1, 1.0), request(2, 0.0))
    table, manifest = imported("litellm", path.parent / "*.jsonl")
    assert cells(table)["reward"].tolist() == [0.5, 1.0, 0.0]
    assert manifest["left_out"] == {"a request that was exported before": 1}


def test_other_calls_and_prompts_that_were_cut_are_left_out(tmp_path):
    cut = "Begin... (litellm_truncated skipped 9000 chars) ...end"
    path = write(tmp_path / "logs.jsonl", request(0), request(1, call_type="aembedding"), request(2, question=cut))
    _, manifest = imported("litellm", path)
    assert manifest["left_out"] == {"calls of another kind: aembedding": 1, "prompts that LiteLLM cut": 1}


def test_a_cost_of_nothing_beside_tokens_is_not_told(tmp_path):
    table, _ = imported("litellm", write(tmp_path / "logs.jsonl", request(spend=0.0, cache_hit="True")))
    assert cells(table, "cost_usd")["cost_usd"].isna().all()


def test_the_name_that_callers_give_may_be_the_member(tmp_path):
    assert imported("litellm", write(tmp_path / "a.jsonl", request()), member="model_group")[0].members == ("fast",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"messages": "{}"}, "no prompt is stored"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "messages the conversation has no turn of the role user",
        ),
        ({"model": ""}, "model is no text"),
        ({"request_id": None}, "request_id is no name"),
        ({"metadata": {"score": "good"}}, "reward: not a number"),
    ],
)
def test_what_is_no_request_stops_the_import(tmp_path, change, reason):
    path = write(tmp_path / "logs.jsonl", request(0), {**request(1, 1.0, "2+2?"), **change})
    assert reason in refused("litellm", path)
    assert sum(imported("litellm", path, strict=False)[1]["not_understood"].values()) == 1
