"""EmbedLLM's csv files: a row an answer, and labels that contradict each other."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def write(path, **files):
    path.mkdir()
    for name, rows in files.items():
        pd.DataFrame(rows).to_csv(path / f"{name}.csv", index=False)
    return path


def answer(prompt=7, model="org__m", label: object = 1, **more):
    return {"prompt_id": prompt, "model_id": 3, "category": "mmlu", "label": label, "prompt": f"text {prompt}",
            "model_name": model, **more}  # fmt: skip


def test_files_are_splits_and_the_orders_beside_them_are_left_alone(tmp_path):
    path = write(
        tmp_path / "data",
        train=[answer(7), answer(7, "n", 0)],
        val=[answer(8)],
        test=[answer(9, label=None), answer(9, "n", 0)],
        question_order=[{"prompt_id": 7, "prompt": "text 7"}],
        model_order=[{"model_id": 3, "model_name": "org__m"}],
    )
    table, about = imported("embedllm", path)
    assert table.prompts[["prompt_id", "split"]].to_numpy().tolist() == [
        ["7", "train"], ["8", "validation"], ["9", "test"],
    ]  # fmt: skip
    assert cells(table)["reward"].fillna(-1).tolist() == [0.0, 1.0, 1.0, 0.0, -1]
    assert about["missing"] == {"no score": 1}


def test_labels_that_contradict_each_other_are_faults_and_equal_ones_one(tmp_path):
    path = write(tmp_path / "data", train=[answer(), answer(), answer(8), answer(8, label=0), answer(9)])
    said = refused("embedllm", path)
    assert "two different rows of one prompt and member" in said
    assert "prompt_id 8, member org__m" in said
    table, about = imported("embedllm", path, strict=False)
    assert list(about["not_understood"].values()) == [2]  # none of the two is taken
    assert about["left_out"] == {"rows that repeat another wholly": 1}
    assert cells(table)[["text", "reward"]].to_numpy().tolist() == [["text 7", 1.0], ["text 9", 1.0]]


def test_a_prompt_under_several_tasks_has_the_first_and_its_labels_may_be_samples(tmp_path):
    path = write(tmp_path / "data", train=[answer(), answer(category="mmlu_pro"), answer(label=0, category="x")])
    assert "two different rows of one prompt and member" in refused("embedllm", path)
    table, about = imported("embedllm", path, repeats="samples")
    assert table.prompts["category"].tolist() == ["mmlu"]
    assert table.samples["reward"].tolist() == [1.0, 1.0, 0.0]
    assert "Some prompts stand under several tasks; the first of them is the category." in about["notes"]


def test_an_id_under_two_texts_is_named(tmp_path):
    said = refused(
        "embedllm", write(tmp_path / "data", train=[answer(), answer(model="n", prompt=7) | {"prompt": "x"}])
    )
    assert "7" in said


def test_rows_that_lack_something_are_named(tmp_path):
    said = refused(
        "embedllm", write(tmp_path / "data", train=[answer(), answer(None), answer(8, None), answer(9, label="yes")])
    )
    assert "prompt_id is no name" in said
    assert "model_name is no name" in said
    assert "yes" in said
    assert "no label" in refused(
        "embedllm", write(tmp_path / "b", train=[{"prompt_id": 1, "prompt": "a", "model_name": "m"}])
    )


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "zeroeval.parquet")
    rows = long.rename(columns={"model": "model_name"}).assign(
        label=long["reward"].astype(int), model_id=long["model"].astype("category").cat.codes
    )[["prompt_id", "model_id", "category", "label", "prompt", "model_name"]]
    path = tmp_path / "data"
    path.mkdir()
    of = pd.util.hash_pandas_object(rows["prompt_id"], index=False) % 3
    for number, name in enumerate(("train", "val", "test")):
        rows[of == number].to_csv(path / f"{name}.csv", index=False)
    table, _ = imported("embedllm", path)
    same_cells(table, long)
    assert set(table.prompts["prompt_id"]) == set(long["prompt_id"])
    assert facts(table) == FACTS["zeroeval"]
