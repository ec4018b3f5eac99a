"""RouterBench's wide frame: its pickle, its csv, its costs and its ids."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def frame(rows: list[dict]) -> pd.DataFrame:
    """As the publisher writes one: names and texts are objects, whatever pandas is new."""
    made = pd.DataFrame(rows, dtype=object)
    return made.set_axis(pd.Index([str(name) for name in made], dtype=object), axis=1)


def row(sample="mmlu.1", prompt="['What is 1+1?']", name="mmlu", **models) -> dict:
    values: dict = {"sample_id": sample, "prompt": prompt, "eval_name": name}
    for model, (score, response, cost) in models.items():
        values |= {model: score, f"{model}|model_response": response, f"{model}|total_cost": cost}
    return {**values, "oracle_model_to_route_to": "m"}


ROWS = [
    row(m=(1.0, "['2']", 0.25), **{"a/b:c": (0.0, "['3']", 0.5)}),
    row("mtbench.7", "['Hello', \"And it's?\"]", "mtbench", m=(0.75, "hi", 0.125), **{"a/b:c": (None, "hm", 0.5)}),
]


def write(path, form: str, rows=ROWS):
    path.mkdir()
    if form == "csv":
        frame(rows).to_csv(path / "routerbench_0shot.csv")  # with the index, as in RouterDC's copy
    elif form == "parquet":
        pd.DataFrame(rows).to_parquet(path / "routerbench_0shot.parquet")
    else:
        (path / "routerbench_0shot.pkl").write_bytes(pickle.dumps(frame(rows), protocol=int(form[-1])))
    return path


@pytest.mark.parametrize("form", ["csv", "parquet", "pickle 2", "pickle 4", "pickle 5"])
def test_every_form_makes_the_same_table(tmp_path, form):
    table, about = imported("routerbench", write(tmp_path / "bench", form))
    assert table.members == ("a/b:c", "m")
    assert table.prompts[["prompt_id", "prompt", "category"]].to_dict("records") == [
        {"prompt_id": "mmlu.1", "prompt": "What is 1+1?", "category": "mmlu"},
        {"prompt_id": "mtbench.7", "prompt": "Hello\nAnd it's?", "category": "mtbench"},
    ]
    assert cells(table, "cost_usd")[["model", "reward", "cost_usd"]].to_numpy().tolist()[:2] == [
        ["a/b:c", 0.0, 0.5],
        ["m", 1.0, 0.25],
    ]
    assert about["missing"] == {"no score": 1}
    assert about["files"][0]["harness"] == "RouterBench"


def test_a_cost_of_nothing_for_a_response_is_unknown_and_said(tmp_path):
    rows = [row(m=(1.0, "2", 0.0), n=(1.0, "2", 0.5)), row("mmlu.2", "b", m=(1.0, None, 0.0), n=(1.0, "2", 0.5))]
    for form in ("csv", "pickle 4"):
        table, about = imported("routerbench", write(tmp_path / form, form, rows))
        assert cells(table, "cost_usd")["cost_usd"].fillna(-1).tolist() == [-1, 0.5, 0.0, 0.5]
        assert "A cost of 0 beside a response with tokens is unknown, not free." in about["notes"]


def test_an_id_under_two_prompts_is_named(tmp_path):
    said = refused("routerbench", write(tmp_path / "b", "csv", [*ROWS, row(prompt="other", m=(1.0, "x", 1.0))]))
    assert "mmlu.1" in said


def test_models_that_were_asked_another_text_under_an_id_are_named_and_one_text_can_be_taken(tmp_path):
    """As a published id (arc-challenge.val.172): a row for each text, empty for those asked the other."""
    nobody = (None, None, None)
    rows = [*ROWS, row("a.1", "['short']", m=(1.0, "x", 0.5), **{"a/b:c": nobody}),
            row("a.1", "['short and long']", m=nobody, **{"a/b:c": (0.5, "y", 0.5)})]  # fmt: skip
    path = write(tmp_path / "b", "csv", rows)
    said = refused("routerbench", path)
    assert "members were asked different texts of 1 documents: a/b:c (1)" in said
    table, about = imported("routerbench", path, prompts="from:m")
    assert table.prompts.set_index("prompt_id")["prompt"]["a.1"] == "short"
    assert cells(table)["reward"].notna().sum() == 5
    assert about["missing"] == {"no score": 1}


def test_a_frame_without_such_columns_is_named(tmp_path):
    said = refused("routerbench", write(tmp_path / "b", "csv", [{"sample_id": 1, "prompt": "a", "m": 0.5}]))
    assert "no columns <model> and <model>|total_cost" in said
    assert "sample_id" in said


def test_a_score_that_is_none_is_named(tmp_path):
    said = refused("routerbench", write(tmp_path / "b", "csv", [row(m=("0,5", "x", 1.0))]))
    assert "0,5" in said


def test_a_pickle_that_runs_something_is_refused_and_not_run(tmp_path):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    said = refused("routerbench", write(tmp_path / "b", "pickle 4", [row(m=(Call(), "x", 1.0))]))
    assert f"it names {os.system.__module__}.system" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.tables
@pytest.mark.parametrize("form", ["pickle 4", "csv"])
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path, form):
    long = pd.read_parquet(tables / "routellm2.parquet")
    wide = long.pivot_table(index=["prompt_id", "prompt", "category"], columns="model", values="reward", sort=False)
    rows = [
        row(key[0], repr([key[1]]), key[2], **{m: (float(r), "x", 0.5) for m, r in values.items()})
        for key, values in zip(wide.index, wide.to_dict("records"), strict=True)
    ]
    table, _ = imported("routerbench", write(tmp_path / "b", form, rows))
    same_cells(table, long)
    assert set(table.prompts["prompt_id"]) == set(long["prompt_id"])
    assert facts(table) == FACTS["routellm2"]
    assert np.isclose(table.samples["cost_usd"], 0.5).all()
