"""UltraFeedback: ratings of four responses to an instruction, one of which is chosen as the reward."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from erp.errors import ErpError
from tests.importers.benchmarks import cells, imported, refused

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def completion(model, ratings: str, overall: object = 7.0):
    annotations = {
        aspect: {"Rating": "N/A" if rating == "-" else rating, "Rationale": "why"}
        for aspect, rating in zip(ASPECTS, ratings, strict=True)
    }
    return {"model": model, "principle": "honesty", "custom_system_prompt": "Be honest.", "response": f"of {model}",
            "annotations": annotations, "critique": "c", "overall_score": overall}  # fmt: skip


def write(path, form="jsonl", **files):
    path.mkdir()
    for name, rows in files.items():
        if form == "parquet":
            pd.DataFrame(rows).to_parquet(path / f"{name}.parquet")
        else:
            (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def item(instruction, *completions, source="sharegpt"):
    return {"source": source, "instruction": instruction, "models": [c["model"] for c in completions],
            "correct_answers": ["None"], "incorrect_answers": ["None"], "completions": list(completions)}  # fmt: skip


ROWS = [
    item("a", completion("gpt-4", "5455"), completion("alpaca-7b", "2-31", 10), completion("bard", "1112", 10)),
    item("b", completion("gpt-4", "----", None), completion("starchat", "1234", 4.5)),
]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("score", "rewards"),
    [
        ("overall_score", {"a": {"gpt-4": 7, "alpaca-7b": None, "bard": None}, "b": {"gpt-4": None, "starchat": 4.5}}),
        (
            "fine-grained_score",
            {"a": {"gpt-4": 4.75, "alpaca-7b": 2, "bard": 1.25}, "b": {"gpt-4": None, "starchat": 2.5}},
        ),
        ("honesty", {"a": {"gpt-4": 4, "alpaca-7b": None, "bard": 1}, "b": {"gpt-4": None, "starchat": 2}}),
    ],
)
def test_the_score_is_the_one_that_is_chosen(tmp_path, form, score, rewards):
    table, about = imported("ultrafeedback", write(tmp_path / "data", form, sharegpt=ROWS), score=score)
    found: dict = {}
    for text, model, reward in cells(table)[["text", "model", "reward"]].to_numpy():
        found.setdefault(text, {})[model] = None if pd.isna(reward) else reward
    assert found == rewards
    assert table.reward_model == score
    assert set(table.prompts["prompt_id"]) == {"sharegpt/0", "sharegpt/1"}
    assert any("drawn at random" in note for note in about["notes"])


def test_why_a_score_is_missing_is_counted(tmp_path):
    _, about = imported("ultrafeedback", write(tmp_path / "a", sharegpt=ROWS), score="overall_score")
    assert about["missing"] == {
        "no score": 1, "an overall score of 10 beside ratings of at most 2, an error of early releases": 2,
    }  # fmt: skip
    _, about = imported("ultrafeedback", tmp_path / "a", score="honesty")
    assert about["missing"] == {"honesty is not rated": 2}


def test_a_score_has_to_be_chosen(tmp_path):
    for score, told in ((None, "null"), ("quality", "quality")):
        with pytest.raises(ErpError, match=f"source.score = {told}: a response has several, overall_score, "):
            imported("ultrafeedback", tmp_path, score=score)


def test_what_is_no_completion_is_named(tmp_path):
    bad = [item("a", completion("m", "5555")), item("b", {**completion("m", "5555"), "annotations": None}),
           {**item("c"), "completions": "x"}, item("d", completion("m", "5x55"))]  # fmt: skip
    said = refused("ultrafeedback", write(tmp_path / "a", x=bad), score="fine-grained_score")
    for part in ("annotations is no object", "completions is no list of objects", "honesty's rating is no number"):
        assert part in said
