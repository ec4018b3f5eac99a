"""AlpacaEval's annotations: preferences against a reference as rewards."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells

JUDGE, REFERENCE = "weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview"


def annotation(instruction="a", model="m", preference: object = 1.75, annotator=JUDGE, reference=REFERENCE, **more):
    return {
        **{"dataset": "koala", "instruction": instruction, "output_1": "theirs", "generator_1": reference},
        **{"output_2": "ours", "generator_2": model, "annotator": annotator, "preference": preference},
        **more,
    }


def write(path, *annotations: dict):
    """results/<model>/<annotator>/annotations.json, and what else lies there."""
    files: dict = {}
    for one in annotations:
        files.setdefault(path / one["generator_2"] / one["annotator"] / "annotations.json", []).append(one)
    for file, rows in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows, indent=4))
        (file.parents[1] / "model_outputs.json").write_text(json.dumps([{"instruction": "a", "output": "ours"}]))
    return path


def test_the_reward_is_the_preference_less_1_and_a_draw_is_half(tmp_path):
    path = write(
        tmp_path / "results",
        *(annotation(text, preference=p) for text, p in zip("abcdef", (1.75, 1, 2.0, 1.5, 0, None), strict=True)),
        annotation("a", "n", 1.25),
    )
    table, about = imported("alpaca_eval", path)
    found = cells(table)
    assert found[found["model"] == "m"]["reward"].fillna(-1).tolist() == [0.75, 0.0, 1.0, 0.5, 0.5, -1]
    assert about["missing"] == {"the annotation failed": 1}
    assert table.reward_model == "preference"
    assert (
        f"The reward is how probably {JUDGE} prefers the response to that of {REFERENCE}; 0.5 is a draw."
        in about["notes"]
    )
    assert about["files"][0]["metric"] == JUDGE


def test_of_several_annotators_or_references_one_is_chosen(tmp_path):
    older = {"annotator": "alpaca_eval_gpt4", "reference": "text_davinci_003"}
    path = write(tmp_path / "results", annotation(), annotation(preference=2, **older), annotation("b", "n", 1))
    assert f"source.annotator = null: the files have alpaca_eval_gpt4, {JUDGE}" in refused("alpaca_eval", path)
    table, about = imported("alpaca_eval", path, annotator=JUDGE)
    assert cells(table)["reward"].tolist() == [0.75, 0.0]
    assert about["left_out"] == {"of another annotator": 1}
    said = refused("alpaca_eval", write(tmp_path / "b", annotation(), annotation("b", reference="x")))
    assert f"source.reference = null: the files have {REFERENCE}, x" in said
    table, about = imported("alpaca_eval", tmp_path / "b", reference="x")
    assert about["left_out"] == {"of another reference": 1}
    assert len(table.samples) == 1
    assert f"source.annotator = me: the files have alpaca_eval_gpt4, {JUDGE}" in refused(
        "alpaca_eval", path, annotator="me"
    )


def test_what_is_no_preference_is_named(tmp_path):
    said = refused(
        "alpaca_eval", write(tmp_path / "a", annotation(preference=3), annotation("b", preference="x"), annotation(7))
    )
    for part in ("preference is not from 1 to 2", "preference is no number", "instruction is no text"):
        assert part in said


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "alpaca_eval.parquet")
    rows = long[["prompt", "model", "reward", "category"]].to_numpy()
    path = write(tmp_path / "results", *(annotation(p, m, 1 + float(r), dataset=c) for p, m, r, c in rows))
    table, about = imported("alpaca_eval", path)
    same_cells(table, long)
    assert len(about["files"]) == 55
    assert facts(table) == FACTS["alpaca_eval"]
