"""LLMRouterBench's results: a file a run, of which the latest counts."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def record(index=1, score: object = 1.0, cost: object = 0.25, tokens=5, **more):
    return {
        **{"index": index, "origin_query": f"question {index}", "prompt": f"Answer: question {index}"},
        **{"prompt_tokens": 15, "completion_tokens": tokens, "cost": cost, "score": score, "prediction": "4"},
        **{"ground_truth": "4", "raw_output": "It is 4.", "extra_fields": {}},
        **more,
    }


def write(path, dataset, model, *records, time="20250101_000000", split="test", **more):
    """results/bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<time>.json."""
    folder = path / "bench" / dataset / split / model.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    document = {"performance": 0.5, "time_taken": 1.0, "counts": len(records), "model_name": model,
                "dataset_name": dataset, "split": split, "demo": False, "extra_metrics": {}, "data_fingerprint": "",
                "records": list(records), **more}  # fmt: skip
    (folder / f"{dataset}-{split}-{model.replace('/', '_')}-{time}.json").write_text(json.dumps(document, indent=2))
    return path


def test_scores_tokens_and_costs(tmp_path):
    path = write(tmp_path / "results", "aime", "gpt-5", record(1), record(2, 0.0))
    write(path, "mmlupro", "org/m", record(1, 0.5))
    table, about = imported("llmrouterbench", path)
    assert cells(table, "prompt_tokens", "completion_tokens", "cost_usd").to_numpy().tolist() == [
        ["aime", "Answer: question 1", "gpt-5", 1.0, 15, 5, 0.25],
        ["aime", "Answer: question 2", "gpt-5", 0.0, 15, 5, 0.25],
        ["mmlupro", "Answer: question 1", "org/m", 0.5, 15, 5, 0.25],
    ]
    assert set(table.prompts["prompt_id"]) == {"aime/test/1", "aime/test/2", "mmlupro/test/1"}
    assert about["files"][0]["date"] == "20250101_000000"
    table, _ = imported("llmrouterbench", path, text="origin_query")
    assert set(table.prompts["prompt"]) == {"question 1", "question 2"}


def test_the_latest_run_counts_and_neither_a_demonstration_nor_an_earlier_one(tmp_path):
    path = tmp_path / "results"
    write(path, "aime", "m", record(1, 0.0), record(2, 0.0), time="20250102_235959")
    write(path, "aime", "m", record(1, 0.75), time="20250103_000000")
    write(path, "aime", "m", record(1, 0.5), time="20241231_000000")
    write(path, "aime", "m", record(1, 0.25), time="20250104_000000", demo=True)
    table, about = imported("llmrouterbench", path)
    assert cells(table)["reward"].tolist() == [0.75]
    assert about["left_out"] == {"of a demonstration": 1, "of an earlier run of the same model on the same data set": 3}
    assert [file["date"] for file in about["files"]] == ["20250103_000000"]


def test_a_score_of_null_is_missing_and_a_failure_an_error(tmp_path):
    failed = {"tokens": 0, "cost": 0.0, "prediction": "", "ground_truth": ""}
    path = write(
        tmp_path / "results", "aime", "m",
        record(1, None), record(2, None, raw_output="Processing failed: timeout", **failed), record(3),
        record(4, None, raw_output="Unexpected error: x", prompt="", origin_query="", **failed),
    )  # fmt: skip
    table, about = imported("llmrouterbench", path)
    assert cells(table)["reward"].fillna(-1).tolist() == [-1, -1, 1.0]
    assert about["missing"] == {"no score": 1, "processing failed": 1}
    assert about["left_out"] == {"failed without a prompt": 1}


def test_a_cost_of_0_beside_tokens_is_unknown_and_said(tmp_path):
    table, about = imported(
        "llmrouterbench", write(tmp_path / "r", "aime", "m", record(1, cost=0.0), record(2), record(3, cost=0))
    )
    assert cells(table, "cost_usd")["cost_usd"].fillna(-1).tolist() == [-1, 0.25, -1]
    assert "A cost of 0 beside a response with tokens is unknown, not free." in about["notes"]


def test_models_that_were_asked_different_texts_and_files_that_are_none_are_named(tmp_path):
    path = write(tmp_path / "a", "aime", "m", record(1))
    write(path, "aime", "n", record(1, prompt="Otherwise: question 1"))
    said = refused("llmrouterbench", path)
    assert "Otherwise: question 1" in said
    path = write(tmp_path / "b", "aime", "m", record(1), record(None), record(3, prompt=7))
    for name, text in (("list", "[1]"), ("bare", "{}"), ("other", json.dumps({"records": []}))):
        (path / f"{name}.json").write_text(text)
    said = refused("llmrouterbench", path)
    for part in ("no object with records", "no records", "no dataset_name", "index is no name", "prompt is no text"):
        assert part in said


def test_the_archive_as_it_is_published_says_what_to_do(tmp_path):
    (tmp_path / "bench-release.tar.gz").write_bytes(b"x")
    assert "unpack it (tar xf) and give the folder" in refused("llmrouterbench", tmp_path / "bench-release.tar.gz")


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "zeroeval.parquet")
    index = {identity: number for number, identity in enumerate(long["prompt_id"].unique(), 1)}
    for (category, model), of in long.groupby(["category", "model"]):
        rows = of[["prompt_id", "prompt", "reward", "completion_tokens"]].itertuples(index=False)
        write(tmp_path / "r", category, model, *(
            record(index[i], float(r), 0.5, int(n), prompt=p, raw_output="r" if n else "") for i, p, r, n in rows
        ))  # fmt: skip
    table, _ = imported("llmrouterbench", tmp_path / "r")
    same_cells(table, long.astype({"completion_tokens": float}), "completion_tokens")
    assert facts(table) == FACTS["zeroeval"]
