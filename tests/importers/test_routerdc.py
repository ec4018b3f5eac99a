"""RouterDC's files: a question, and a score of each model that may be a mean of ten."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from erp.errors import ErpError
from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def write(path, **files: list[dict]):
    path.mkdir()
    for name, rows in files.items():
        (path / f"{name.replace('__', '-')}.json").write_text(json.dumps(rows))
    return path


def item(question="q", **scores):
    return {"question": question, "scores": scores}


def test_files_are_categories_and_their_names_say_the_split(tmp_path):
    path = write(
        tmp_path / "split2_model7",
        mmlu_train=[{**item("a", m=0.25, n=0), "cluster_id": 3}],
        mmlu_test=[item("b", m=1, n=None)],
        gsm8k__test=[item("c", m=1.0, n=0.5)],
        train=[item("d", m=1.0, n=0.0)],
    )
    table, about = imported("routerdc", path)
    assert table.prompts[["prompt_id", "category", "split"]].fillna("").to_numpy().tolist() == [
        ["gsm8k-test/0", "gsm8k", "test"], ["mmlu_test/0", "mmlu", "test"], ["mmlu_train/0", "mmlu", "train"],
        ["train/0", "", "train"],
    ]  # fmt: skip
    assert cells(table)["reward"].fillna(-1).tolist() == [1.0, 0.5, 0.25, 0.0, 1.0, -1, 1.0, 0.0]
    assert about["missing"] == {"no score": 1}


def test_a_mean_of_attempts_says_of_how_many(tmp_path):
    path = write(tmp_path / "a", humaneval_train=[item(m=0.3, n=1.0)])
    table, _ = imported("routerdc", path, n_samples=10)
    assert table.samples["n_samples"].tolist() == [10, 10]
    said = refused("routerdc", write(tmp_path / "b", mmlu_test=[item(m=0.31408, n=1.0)]), n_samples=10)
    assert "a score that is no share of 10 attempts" in said
    assert "m: 0.31408" in said
    with pytest.raises(ErpError, match=r"source\.n_samples = 0: allowed is 1 or more"):
        imported("routerdc", path, n_samples=0)


def test_benchmarks_are_chosen_and_some_of_them_are_means_of_attempts(tmp_path):
    path = write(
        tmp_path / "a", gsm8k__train=[item("a", m=0.3, n=1.0)], mmlu_test=[item("b", m=0.31, n=1)],
        arc_easy_test=[item("c", m=0.5, n=1)],
    )  # fmt: skip
    chosen = {"benchmarks": ["gsm8k", "mmlu"], "n_samples": 10, "sampled": ["gsm8k"]}
    table, _ = imported("routerdc", path, **chosen)
    assert table.prompts["category"].tolist() == ["gsm8k", "mmlu"]
    assert cells(table, "n_samples")["n_samples"].tolist() == [10, 10, 1, 1]
    with pytest.raises(ErpError, match=r"source\.sampled = math: no file is of it; allowed are arc_easy, gsm8k, mmlu"):
        imported("routerdc", path, sampled=["math"])


def test_a_copy_of_a_file_with_clusters_is_read_once(tmp_path):
    write(tmp_path / "all", mmlu_train=[item("a", m=1.0)]).rename(tmp_path / "model7")
    both = tmp_path / "both"
    both.mkdir()
    (tmp_path / "model7").rename(both / "model7")
    write(both / "model7_cluster", mmlu_train=[{**item("a", m=1.0), "cluster_id": 1}])
    table, about = imported("routerdc", both)
    assert len(table.samples) == 1
    assert about["left_out"] == {"rows that repeat another wholly": 1}


def test_what_is_no_item_is_named(tmp_path):
    said = refused(
        "routerdc",
        write(tmp_path / "a", x=[item(m=1.0), {"scores": {"m": 1}}, item(2, m=1), {"question": "a", "scores": [1]}]),
    )
    for part in ("no question", "question is no text", "scores is no object", "x.json item 2", "x.json item 3"):
        assert part in said


@pytest.mark.tables
def test_a_real_table_of_ten_samples_comes_back_as_its_means(tables, tmp_path):
    long = pd.read_parquet(tables / "humaneval3x10.parquet").astype({"reward": float})
    means = long.groupby(["category", "prompt", "model"], sort=False)["reward"].mean().reset_index()
    wide = means.pivot_table(index="prompt", columns="model", values="reward", sort=False)
    rows = [
        {"question": question, "scores": scores}
        for question, scores in zip(wide.index, wide.to_dict("records"), strict=True)
    ]
    table, _ = imported("routerdc", write(tmp_path / "a", humaneval_test=rows), n_samples=10)
    same_cells(table, means.assign(n_samples=10), "n_samples")
    assert facts(table) == FACTS["humaneval3x10"]


@pytest.mark.tables
def test_a_real_table_in_the_form_that_llmrouter_gives_it_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "llmrouter9.parquet")
    files = {}
    for (category, split), rows in long.groupby(["category", "split"]):
        wide = rows.pivot_table(index="prompt", columns="model", values="reward", sort=False)
        files[f"{category}_{split}".replace("-", "__")] = [
            {"question": q, "scores": s} for q, s in zip(wide.index, wide.to_dict("records"), strict=True)
        ]
    table, _ = imported("routerdc", write(tmp_path / "a", **files))
    same_cells(table, long)
    assert (
        table.prompts["split"].value_counts().to_dict()
        == long.drop_duplicates("prompt_id")["split"].value_counts().to_dict()
    )
    assert facts(table) == FACTS["llmrouter9"]
