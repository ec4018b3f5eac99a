"""lighteval's details, new and old: lengths from token ids, metrics that are chosen and turned round, latest runs."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.importers.benchmarks import cells, imported, refused

DATE = "2025-11-05T14-43-47.148527"


def new(number=0, reward: object = 1.0, text=("two",), generated=((5, 6, 7),), **more):
    """A row as it is written since June 2025."""
    return {
        "doc": {"query": f"question {number}", "id": str(number), "choices": ["gold answer"], "gold_index": 0},
        "metric": {"extractive_match": reward},
        "model_response": {
            "input": f"<user>few shots question {number}",
            "input_tokens": list(range(11)),
            "text": list(text),
            "output_tokens": [list(ids) for ids in generated],
        },
        **more,
    }


def old(number=0, reward: object = 1.0, predictions=("two",), generated=(((5, 6, 7),),), printed=False):
    """A row of the versions before, perhaps with every column as Python prints it."""
    row = {
        "example": f"question {number}",
        "full_prompt": f"few shots question {number}",
        "predictions": list(predictions),
        "input_tokens": [list(range(11))],
        "cont_tokens": [[list(ids) for ids in each] for each in generated],
        "gold": ["gold answer"],
        "metrics": {"em": reward},
    }
    return {key: str(value) for key, value in row.items()} if printed else row


def write(root, *rows, model="org/small", task="gsm8k|5", date=DATE, metrics=("extractive_match",), up=True):
    folder = root / "details" / model / date
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / f"details_{task}_{date}.parquet")
    if metrics:
        said = [{"metric_name": name, "higher_is_better": up, "category": "GENERATIVE"} for name in metrics]
        results = {
            "config_general": {"lighteval_sha": "abc", "model_name": model},
            "results": {task: {}},
            "config_tasks": {f"lighteval|{task.split('|')[0]}": {"name": task.split("|")[0], "metrics": said}},
        }
        folder = root / "results" / model
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"results_{date}.json").write_text(json.dumps(results))
    return root


def test_details_become_rows_with_lengths_of_token_ids(tmp_path):
    write(tmp_path / "a", new(0), new(1, 0.0, generated=((5,),)))
    path = write(tmp_path / "a", new(0, 0.0), new(1, 1.0), model="org/large", date="2025-11-06T00-00-00")
    table, manifest = imported("lighteval", path)
    assert table.members == ("org/large", "org/small")
    frame = cells(table, "prompt_tokens", "completion_tokens")
    assert frame["reward"].tolist() == [0.0, 1.0, 1.0, 0.0]
    assert frame["prompt_tokens"].tolist() == [11] * 4
    assert frame["completion_tokens"].tolist() == [3, 3, 3, 1]
    assert frame["text"].unique().tolist() == ["question 0", "question 1"]
    assert not table.prompts["prompt"].str.contains("gold").any()
    assert {key: manifest["files"][1][key] for key in ("harness", "version", "metric", "date", "task")} == {
        "harness": "lighteval", "version": "abc", "metric": "extractive_match", "date": DATE, "task": "gsm8k|5",
    }  # fmt: skip


@pytest.mark.parametrize("printed", [False, True])
def test_the_older_columns_are_read_too(tmp_path, printed):
    rows = [old(i, i / 2, generated=(((5, 6),),), printed=printed) for i in range(3)]
    table, _ = imported("lighteval", write(tmp_path / "a", *rows, metrics=("em",)))
    frame = cells(table, "prompt_tokens", "completion_tokens")
    assert frame["reward"].tolist() == [0.0, 0.5, 1.0]
    assert frame["text"].tolist() == ["question 0", "question 1", "question 2"]
    assert frame[["prompt_tokens", "completion_tokens"]].values.tolist() == [[11, 2]] * 3


def test_choices_whose_likelihood_was_measured_were_not_generated(tmp_path):
    table, _ = imported("lighteval", write(tmp_path / "a", new(0, text=(), generated=((5,), (6, 7)))))
    assert cells(table, "completion_tokens")["completion_tokens"].isna().all()


def test_several_responses_of_one_score_are_added_up_and_told(tmp_path):
    path = write(tmp_path / "a", new(0, text=("a", "b"), generated=((1, 2), (3,))))
    table, manifest = imported("lighteval", path)
    assert cells(table, "completion_tokens")["completion_tokens"].tolist() == [3]
    assert any("of 2 responses together" in note for note in manifest["notes"])


def test_the_whole_prompt_is_taken_where_that_is_asked_for(tmp_path):
    table, _ = imported("lighteval", write(tmp_path / "a", new()), prompt="whole")
    assert table.prompts["prompt"].tolist() == ["<user>few shots question 0"]


def test_several_metrics_are_listed_and_lists_are_none(tmp_path):
    row = new()
    row["metric"] = {"em": 1.0, "maj@8": 0.0, "ppl": [1.0, 2.0]}
    path = write(tmp_path / "a", row, metrics=("em", "maj@8", "ppl"))
    assert "source.metric = null: gsm8k|5 has several, em, maj@8; choose" in refused("lighteval", path)
    assert "source.metric = ppl: gsm8k|5 has several, em, maj@8" in refused("lighteval", path, metric="ppl")
    assert "nothing has f1; there are em, maj@8" in refused("lighteval", path, metric=["f1", "maj@8"])
    table, manifest = imported("lighteval", path, metric="maj@8")
    assert cells(table)["reward"].tolist() == [0.0]
    assert manifest["reward_models"] == ["maj@8"]


def test_a_metric_that_is_better_lower_is_turned_round_and_one_of_no_direction_refused(tmp_path):
    path = write(tmp_path / "a", new(0, 3.0), up=False)
    table, manifest = imported("lighteval", path)
    assert cells(table)["reward"].tolist() == [-3.0]
    assert any("turned round" in note for note in manifest["notes"])
    path = write(tmp_path / "b", new(0, 3.0), metrics=())
    assert "nothing says which way extractive_match of gsm8k|5 points" in refused("lighteval", path)
    assert cells(imported("lighteval", path, higher_is_better=True)[0])["reward"].tolist() == [3.0]


def test_members_with_other_system_prompts_are_refused_or_noted(tmp_path):
    for model in ("org/small", "org/large"):  # at the same time
        path = write(tmp_path / "a", new(), model=model)
        file = next((path / "results" / model).iterdir())
        said = json.loads(file.read_text())
        said["config_general"]["model_config"] = {"system_prompt": "Be brief." if model == "org/small" else None}
        file.write_text(json.dumps(said))
    told = "org/large was asked gsm8k|5 with no system prompt, org/small with system prompt 'Be brief.'"
    assert told in refused("lighteval", path)
    _, manifest = imported("lighteval", path, style="any")
    assert any("members were asked in different ways" in note for note in manifest["notes"])


def test_the_latest_run_counts(tmp_path):
    write(tmp_path / "a", new(0, 0.0), new(1, 0.0))
    path = write(tmp_path / "a", new(0), new(1), date="2025-12-01T00-00-00.5")
    table, manifest = imported("lighteval", path)
    assert cells(table)["reward"].tolist() == [1.0, 1.0]
    assert manifest["left_out"] == {"of an earlier run of the same task by the same member": 2}


def test_a_null_metric_is_missing(tmp_path):
    _, manifest = imported("lighteval", write(tmp_path / "a", new(0), new(1, None)))
    assert manifest["missing"] == {"the metric is null": 1}


def test_the_member_is_named_by_results_folders_or_an_option(tmp_path):
    options = {"higher_is_better": True}
    path = write(tmp_path / "a", new(), metrics=())
    assert imported("lighteval", path, **options)[0].members == ("org/small",)
    hub = tmp_path / "details_org__small_private"
    (path / "details/org/small" / DATE).rename(hub)
    assert imported("lighteval", hub, **options)[0].members == ("org/small",)
    (file,) = hub.iterdir()
    bare = file.rename(tmp_path / file.name)
    assert "source.member = null" in refused("lighteval", bare, **options)
    assert imported("lighteval", bare, member="mine", **options)[0].members == ("mine",)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (new(1, doc={"query": None, "id": "1"}), "no prompt"),
        (new(1, metric=None), "a row has no such metric"),
    ],
)
def test_what_is_no_row_stops_the_import(tmp_path, bad, reason):
    path = write(tmp_path / "a", new(0), bad)
    assert reason in refused("lighteval", path)
    assert sum(imported("lighteval", path, strict=False)[1]["not_understood"].values()) == 1
