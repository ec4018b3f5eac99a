"""SPROUT's parquet files: a column of objects for each model."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def told(score, read=100, written=20, response="r"):
    return {"score": score, "response": response, "num_input_tokens": read, "num_output_tokens": written}


def write(path, **files):
    path.mkdir()
    for name, rows in files.items():
        pd.DataFrame(rows).to_parquet(path / f"{name}-00000-of-00001.parquet")
    return path


def prompt(key: object = 1, text="a", **models):
    return {"key": key, "dataset": "math", "dataset_level": "5", "dataset_idx": "3", "prompt": text,
            "golden_answer": "4", **models}  # fmt: skip


def test_scores_tokens_and_splits(tmp_path):
    path = write(
        tmp_path / "data",
        train=[prompt(1, "a", m=told(0.5), n=told(1.0, 7, 0, ""))],
        test=[prompt(2, "b", m=told(None), n=told(0.0, None, None, ""))],
        validation=[prompt(3, "c", m=None, n=told(0.25))],
    )
    table, about = imported("sprout", path)
    assert table.prompts[["prompt_id", "prompt", "category", "split"]].to_numpy().tolist() == [
        ["1", "a", "math", "train"], ["2", "b", "math", "test"], ["3", "c", "math", "validation"],
    ]  # fmt: skip
    found = cells(table, "prompt_tokens", "completion_tokens").fillna(-1)
    assert found.drop(columns="category").to_numpy().tolist() == [
        ["a", "m", 0.5, 100, 20], ["a", "n", 1.0, 7, 0], ["b", "m", -1, 100, 20], ["b", "n", 0.0, -1, -1],
        ["c", "n", 0.25, 100, 20],
    ]  # fmt: skip
    assert about["missing"] == {"no score": 1}
    assert not (table.prompts["prompt"] == "4").any()


def test_a_key_under_two_texts_and_columns_of_something_else_are_named(tmp_path):
    said = refused("sprout", write(tmp_path / "a", train=[prompt(1, "a", m=told(1.0)), prompt(1, "b", m=told(1.0))]))
    assert "1" in said
    assert "no column of objects with a score" in refused("sprout", write(tmp_path / "b", train=[prompt(m=0.5)]))


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "zeroeval.parquet")
    rows = []
    for (identity, text, category), of in long.groupby(["prompt_id", "prompt", "category"], sort=False):
        columns = of[["model", "reward", "completion_tokens"]].itertuples(index=False)
        rows.append(
            {
                **prompt(identity, text),
                "dataset": category,
                **{m: told(float(r), 9, int(n), "r" * int(n)) for m, r, n in columns},
            }
        )
    table, _ = imported("sprout", write(tmp_path / "data", train=rows[::2], test=rows[1::2]))
    same_cells(table, long.astype({"completion_tokens": float}), "completion_tokens")
    assert set(table.prompts["prompt_id"]) == set(long["prompt_id"])
    assert facts(table) == FACTS["zeroeval"]
