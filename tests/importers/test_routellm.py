"""RouteLLM's csv files: two models, right or wrong."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells

STRONG, WEAK = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"


def write(path, **files: list[dict]):
    for name, rows in files.items():
        (path / "responses").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path / "responses" / f"{name}.csv", index=False)
    return path


def test_benchmarks_are_categories_and_right_is_1(tmp_path):
    path = write(
        tmp_path / "evals",
        mmlu_anatomy=[{"prompt": 'a,\n"b"', WEAK: False, STRONG: True}, {"prompt": "c", WEAK: True, STRONG: None}],
        gsm8k_responses=[
            {"prompt": "d", WEAK: True, STRONG: False, f"{WEAK}_response": "7", f"{STRONG}_response": "8"}
        ],
    )
    table, about = imported("routellm", path)
    assert table.members == (STRONG, WEAK)
    assert cells(table).fillna(-1).to_numpy().tolist() == [
        ["gsm8k", "d", STRONG, 0.0], ["gsm8k", "d", WEAK, 1.0],
        ["mmlu/anatomy", 'a,\n"b"', STRONG, 1.0], ["mmlu/anatomy", 'a,\n"b"', WEAK, 0.0],
        ["mmlu/anatomy", "c", STRONG, -1], ["mmlu/anatomy", "c", WEAK, 1.0],
    ]  # fmt: skip
    assert set(table.prompts["prompt_id"]) == {"gsm8k/0", "mmlu/anatomy/0", "mmlu/anatomy/1"}
    assert {file["task"] for file in about["files"]} == {"gsm8k", "mmlu/anatomy"}
    assert about["missing"] == {"no score": 1}


def test_prompts_that_the_publisher_calls_contaminated_are_left_out_and_counted(tmp_path):
    path = write(tmp_path / "evals", gsm8k_responses=[{"prompt": p, WEAK: True, STRONG: True} for p in "abc"])
    (path / "contaminated_prompts.jsonl").write_text(json.dumps({"eval_prompt": "b", "train_prompt": "x"}) + "\n")
    table, about = imported("routellm", path)
    assert sorted(table.prompts["prompt"]) == ["a", "c"]
    assert about["left_out"] == {"their prompt stands in contaminated_prompts.jsonl": 2}


def test_the_same_text_in_two_places_stays_two_prompts_and_is_named(tmp_path):
    row = {"prompt": "a", WEAK: True, STRONG: True}
    table, about = imported("routellm", write(tmp_path / "e", mmlu_a=[row, row], mmlu_b=[row]))
    assert len(table.prompts) == 3
    assert any("3 prompts share their text" in note for note in about["notes"])


def test_a_cell_that_is_no_truth_is_named(tmp_path):
    assert "maybe" in refused("routellm", write(tmp_path / "e", gsm8k=[{"prompt": "a", WEAK: "maybe", STRONG: True}]))
    assert "no column of a model" in refused("routellm", write(tmp_path / "f", gsm8k=[{"prompt": "a"}]))


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "routellm2.parquet")
    files = {}
    for category, rows in long.groupby("category"):
        wide = rows.pivot_table(index=["prompt_id", "prompt"], columns="model", values="reward", sort=False) == 1
        name = re.sub("/", "_", str(category)) + ("" if "/" in str(category) else "_responses")
        files[name] = wide.reset_index().drop(columns="prompt_id").to_dict("records")
    table, _ = imported("routellm", write(tmp_path / "evals", **files))
    same_cells(table, long)
    assert facts(table) == FACTS["routellm2"]
