"""MixInstruct: several metrics of each response, of which one is the reward, and comparisons of pairs."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import FACTS, cells, facts, imported, refused, same_cells


def candidate(model, **scores):
    return {"decoding_method": "top_p_sampling", "model": model, "text": f"of {model}", "scores": scores}


def item(identity="dolly_15k/closed_qa/3", *candidates, instruction="Do it.", given="With this.", compared=None):
    told = json.dumps(compared) if isinstance(compared, dict) else compared
    return {
        **{"id": identity, "instruction": instruction, "input": given, "output": "gold"},
        **{"candidates": list(candidates), "cmp_results": told},
    }


def write(path, lines=False, **files):
    path.mkdir()
    for name, rows in files.items():
        text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=4)
        (path / f"{name}_data_prepared.json").write_text(text)
    return path


TWO = (candidate("vicuna", bertscore=0.75, bleu=5.5), candidate("flan", bertscore=0.5, bleu=None))


@pytest.mark.parametrize("lines", [False, True])
def test_the_score_is_the_one_that_is_chosen(tmp_path, lines):
    path = write(
        tmp_path / "data", lines,
        train=[item("unified_chip2/1", *TWO, instruction="")],
        val=[item("itwgpt4/2", *TWO, given="")],
        test=[item("dolly_15k/closed_qa/3", *TWO)],
    )  # fmt: skip
    table, _ = imported("mix_instruct", path, score="bertscore")
    assert table.reward_model == "bertscore"
    assert table.prompts[["prompt_id", "prompt", "category", "split"]].to_numpy().tolist() == [
        ["dolly_15k/closed_qa/3", "Do it.\nWith this.", "dolly_15k/closed_qa", "test"],
        ["itwgpt4/2", "Do it.", "itwgpt4", "validation"],
        ["unified_chip2/1", "With this.", "unified_chip2", "train"],
    ]
    assert cells(table)["reward"].tolist() == [0.5, 0.75] * 3
    table, about = imported("mix_instruct", path, score="bleu")
    assert cells(table)["reward"].dropna().tolist() == [5.5] * 3
    assert about["missing"] == {"no bleu": 3}


def test_a_score_has_to_be_chosen(tmp_path):
    path = write(tmp_path / "data", test=[item("a/1", *TWO)])
    said = refused("mix_instruct", path)
    assert "source.score = null: test_data_prepared.json item 1 has several, bertscore, bleu, wins; choose" in said
    assert "source.score = rouge9: test_data_prepared.json item 1 has several" in refused(
        "mix_instruct", path, score="rouge9"
    )


def test_wins_are_shares_of_comparisons_and_draws_are_half(tmp_path):
    three = (*TWO, candidate("koala", bertscore=0.1))
    verdicts = {"vicuna,flan": "A is better", "vicuna,koala": "Same good", "flan,koala": "B is better"}
    path = write(tmp_path / "data", test=[item("a/1", *three, compared=verdicts), item("a/2", *three)])
    table, about = imported("mix_instruct", path, score="wins")
    first = table.samples[table.samples["prompt"] == 0]
    assert {table.members[m]: r for m, r in zip(first["member"], first["reward"], strict=True)} == {
        "vicuna": 0.75, "koala": 0.75, "flan": 0.0,
    }  # fmt: skip
    assert about["missing"] == {"no wins": 3}


def test_candidates_of_one_model_that_differ_and_verdicts_of_other_words_are_named(tmp_path):
    twice = [item("a/1", *TWO, candidate("flan", bertscore=0.9))]
    assert "two different rows of one prompt and member" in refused(
        "mix_instruct", write(tmp_path / "a", test=twice), score="bertscore"
    )
    odd = [item("a/1", *TWO, compared={"vicuna,flan": "A wins"}), item("a/2", *TWO, compared="{")]
    said = refused("mix_instruct", write(tmp_path / "b", test=odd), score="wins")
    assert "a verdict that is none of A is better" in said
    assert "cmp_results is no JSON" in said


def test_a_record_that_is_none_is_named(tmp_path):
    said = refused(
        "mix_instruct",
        write(tmp_path / "a", test=[item("a/1", *TWO), {"id": "b/2"}, 7, item("c/1", 3)]),
        score="bertscore",
    )
    for part in ("instruction and input is no text", "no record", "candidates is no list of objects"):
        assert part in said


@pytest.mark.tables
def test_a_real_table_in_this_layout_comes_back(tables, tmp_path):
    long = pd.read_parquet(tables / "alpaca_eval.parquet")
    rows = []
    for (identity, text, category), of in long.groupby(["prompt_id", "prompt", "category"], sort=False):
        scored = [candidate(m, bertscore=float(r)) for m, r in of[["model", "reward"]].to_numpy()]
        rows.append(item(f"{category}/{identity}", *scored, instruction="", given=text))
    table, _ = imported("mix_instruct", write(tmp_path / "data", test=rows), score="bertscore")
    same_cells(table, long)
    assert facts(table) == FACTS["alpaca_eval"]
