"""LLMRouter's routing data: a row a response, whose failed calls its maker scored 0."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def write(path, **files: list[dict]):
    path.mkdir()
    for name, rows in files.items():
        (path / f"default_routing_{name}_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def response(query="q", model="qwen2.5-7b", performance: object = 1.0, text="r", task="mmlu", **more):
    return {"task_name": task, "query": query, "gt": "A", "metric": "em_mc", "choices": None, "task_id": None,
            "model_name": model, "formatted_query": f"asked: {query}", "response": text, "token_num": 12,
            "prompt_tokens": 10, "completion_tokens": 2, "response_time": 0.5, "performance": performance,
            **more}  # fmt: skip


def test_rows_make_cells_and_files_are_splits(tmp_path):
    path = write(
        tmp_path / "data", train=[response(), response(model="m", performance=0.25)], test=[response("p", task="gsm8k")]
    )
    (path / "default_query_train.jsonl").write_text(json.dumps({"task_name": "mmlu", "query": "q"}))
    table, _ = imported("llmrouter", path)
    assert cells(table, "prompt_tokens", "completion_tokens").to_numpy().tolist() == [
        ["gsm8k", "p", "qwen2.5-7b", 1.0, 10, 2],
        ["mmlu", "q", "m", 0.25, 10, 2],
        ["mmlu", "q", "qwen2.5-7b", 1.0, 10, 2],
    ]
    assert dict(zip(table.prompts["prompt"], table.prompts["split"], strict=True)) == {"p": "test", "q": "train"}


@pytest.mark.parametrize("text", ["ERROR: no router", "API Error: Request timed out for model m"])
def test_a_failed_call_is_an_error_and_not_0(tmp_path, text):
    table, about = imported(
        "llmrouter", write(tmp_path / "data", train=[response(), response("b", performance=0.0, text=text)])
    )
    assert cells(table)["reward"].isna().tolist() == [True, False]
    assert about["missing"] == {"the call failed": 1}
    assert about["coverage"]["qwen2.5-7b"]["mmlu"] == {"scored": 1, "missing": 0, "errors": 1}


def test_a_text_under_two_tasks_is_two_prompts(tmp_path):
    table, _ = imported(
        "llmrouter", write(tmp_path / "data", train=[response(), response(task="arc", performance=0.0)])
    )
    assert sorted(table.prompts["category"]) == ["arc", "mmlu"]


def test_responses_that_contradict_each_other_and_rows_without_a_query_are_named(tmp_path):
    said = refused(
        "llmrouter",
        write(tmp_path / "data", train=[response(), response(performance=0.0), response(""), {"query": "a"}]),
    )
    for part in ("two different rows of one prompt and member", "query is no text", "no performance"):
        assert part in said


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "llmrouter9.parquet")
    files = {
        split: [
            response(q, m, float(r), task=c) for q, m, r, c in of[["prompt", "model", "reward", "category"]].to_numpy()
        ]
        for split, of in long.groupby("split")
    }
    table, _ = imported("llmrouter", write(tmp_path / "data", **files))
    same_cells(table, long)
    assert (
        table.prompts["split"].value_counts().to_dict()
        == long.drop_duplicates("prompt_id")["split"].value_counts().to_dict()
    )
    assert facts(table) == FACTS["llmrouter9"]
