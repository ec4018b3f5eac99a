"""Langfuse's exports: a generation is a row, its score its own or its trace's, and the table is observational."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.importers.benchmarks import cells, imported, refused


def generation(id="g1", question="1+1?", model="small", **more):
    """An observation, as the API and the interface write it."""
    return {
        "id": id,
        "traceId": "t1",
        "type": "GENERATION",
        "name": "answer",
        "startTime": "2026-05-07T00:14:12.872Z",
        "model": model,
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}],
        "output": {"role": "assistant", "content": "two"},
        "level": "DEFAULT",
        "statusMessage": None,
        "usageDetails": {"input": 7, "input_cached_tokens": 4, "output": 2, "total": 13},
        "costDetails": {"input": 0.001, "output": 0.002, "total": 0.003},
        **more,
    }


def score(value: object = 0.5, name="quality", observation: str | None = "g1", trace="t1", kind="NUMERIC", **more):
    return {"id": f"s-{trace}-{observation}-{name}-{value}", "traceId": trace, "observationId": observation,
            "name": name, "value": value, "dataType": kind, "stringValue": None, **more}  # fmt: skip


def trace(*observations, scores=(), id="t1", **more):
    """A trace, as `/traces/<id>` answers it."""
    return {"id": id, "name": "chat", "input": None, "output": None, "observations": list(observations),
            "scores": list(scores), **more}  # fmt: skip


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in value))
    else:
        path.write_text(json.dumps(value, indent=2))
    return path


def download(whole):
    """A trace as the interface downloads it."""
    observations = whole.pop("observations")
    return {"trace": whole, "observations": observations}


@pytest.mark.parametrize("form", [lambda t: t, lambda t: [t], lambda t: {"data": [t], "meta": {"page": 1}}, download])
def test_a_trace_with_observations_and_scores(tmp_path, form):
    span = {**generation("s1"), "type": "SPAN", "model": None}
    path = write(tmp_path / "trace-t1.json", form(trace(span, generation(), scores=[score()])))
    table, manifest = imported("langfuse", path, category="traceName")
    assert table.observational
    assert any(note.startswith("observational") for note in manifest["notes"])
    frame = cells(table, "prompt_tokens", "completion_tokens", "cost_usd")
    assert frame.values.tolist() == [["chat", "1+1?", "small", 0.5, 11, 2, 0.003]]
    assert manifest["reward_models"] == ["quality"]
    assert manifest["left_out"] == {"observations that are no generation": 1}


def test_errors_are_errors_and_a_trace_without_a_score_is_unscored(tmp_path):
    path = write(
        tmp_path / "traces.json",
        [
            trace(generation(), scores=[score()]),
            trace(generation("g2", "2+2?"), id="t2"),
            trace(generation("g3", "3+3?", level="ERROR", statusMessage="429"), scores=[score(0, trace="t3")], id="t3"),
        ],
    )
    for whole in (observations := json.loads(path.read_text())):
        whole["observations"][0]["traceId"] = whole["id"]
    _, manifest = imported("langfuse", write(path, observations))
    assert manifest["missing"] == {"no score": 1, "the observation is an error": 1}
    assert manifest["coverage"]["small"]["(none)"] == {"scored": 1, "missing": 1, "errors": 1}


def test_the_score_of_a_trace_is_its_only_generations_or_by_request_the_last_ones(tmp_path):
    first, last = generation("g1", "1+1?"), generation("g2", "2+2?", startTime="2026-05-07T00:15:00Z")
    one = trace(generation("g9", "9+9?", traceId="t9"), scores=[score(1.0, observation=None, trace="t9")], id="t9")
    path = write(tmp_path / "traces.json", [one, trace(last, first, scores=[score(0.25, observation=None)])])
    table, manifest = imported("langfuse", path)
    assert cells(table).dropna(subset="reward")[["text", "reward"]].values.tolist() == [["9+9?", 1.0]]
    assert sum(manifest["missing"].values()) == 2
    table, manifest = imported("langfuse", path.rename(tmp_path / "again.json"), of_several="last")
    assert cells(table).dropna(subset="reward")[["text", "reward"]].values.tolist() == [["2+2?", 0.25], ["9+9?", 1.0]]
    assert manifest["missing"] == {"no score": 1}


def test_blob_storage_has_scores_in_files_of_their_own(tmp_path):
    row = {
        "id": "g1",
        "trace_id": "t1",
        "type": "GENERATION",
        "start_time": "2026-05-07 00:14:12.872000",
        "provided_model_name": "small",
        "input": json.dumps([{"role": "user", "content": "1+1?"}]),
        "output": "two",
        "level": "DEFAULT",
        "usage_details": {"input": 7, "output": 2, "total": 9},
        "cost_details": {"total": 0.003},
        "total_cost": 0.003,
    }
    write(tmp_path / "x/observations_v2/1.jsonl", [row, {**row, "id": "g2", "trace_id": "t2"}])
    shared = {"name": "quality", "data_type": "NUMERIC"}
    write(tmp_path / "x/scores/1.jsonl", [
        {**shared, "id": "s1", "trace_id": "t1", "observation_id": "g1", "value": 1},
        {**shared, "id": "s2", "trace_id": "t2", "observation_id": "", "value": 0},
    ])  # fmt: skip
    table, _ = imported("langfuse", tmp_path / "x")
    frame = cells(table, "prompt_tokens", "cost_usd")
    assert frame[["text", "reward", "prompt_tokens", "cost_usd"]].values.tolist() == [
        ["1+1?", 1.0, 7, 0.003], ["1+1?", 0.0, 7, 0.003],
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_observations_of_a_table_have_scores_as_columns(tmp_path, suffix):
    rows = [generation("g1", quality=[0.5, 1.0], helpful=["True"]),
            generation("g2", "2+2?", quality=None, helpful=["False"])]  # fmt: skip
    path = tmp_path / f"observations.{suffix}"
    if suffix == "csv":
        cells_of = [{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows]
        pd.DataFrame(cells_of).to_csv(path, index=False)
    else:
        write(path, rows)
    assert "source.score = null: the export has several, helpful, quality; choose" in refused("langfuse", path)
    table, manifest = imported("langfuse", path, score="quality")
    assert cells(table).dropna(subset="reward")["reward"].tolist() == [0.75]
    assert manifest["missing"] == {"no score": 1}
    assert any("their mean is taken" in note for note in manifest["notes"])
    table, _ = imported("langfuse", path.rename(tmp_path / f"again.{suffix}"), score="helpful")
    assert cells(table)["reward"].tolist() == [1.0, 0.0]


def test_words_are_no_scores(tmp_path):
    said = [score(None, kind="CATEGORICAL", stringValue="good"), score(1, "thumbs", kind="BOOLEAN")]
    path = write(tmp_path / "trace.json", trace(generation(), scores=said))
    assert "nothing has quality; there are thumbs" in refused("langfuse", path, score="quality")
    assert cells(imported("langfuse", path)[0])["reward"].tolist() == [1.0]
    path = write(tmp_path / "bare.json", trace(generation()))
    assert "the export has no score" in refused("langfuse", path)


def test_traces_without_observations_are_left_out_and_what_was_exported_twice_is_read_once(tmp_path):
    whole = trace(generation(), scores=[score(observation=None)])
    write(tmp_path / "x/a.json", whole)
    write(tmp_path / "x/b.json", whole)
    write(tmp_path / "x/c.json", [{"id": "t5", "name": "chat", "input": "hi", "output": "ho"}])
    table, manifest = imported("langfuse", tmp_path / "x")
    assert cells(table)["reward"].tolist() == [0.5]
    assert manifest["left_out"] == {
        "a request that was exported before": 1, "a trace without its observations, which alone name a model": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": None}, "a generation names no model"),
        ({"input": None}, "input holds no text"),
        ({"input": [{"role": "user", "content": [{"type": "image_url"}]}]}, "has a part that is no text"),
        ({"id": None}, "id is no name"),
    ],
)
def test_what_is_no_generation_stops_the_import(tmp_path, change, reason):
    bad = {**generation("g2", "2+2?"), **change}
    path = write(tmp_path / "traces.json", [trace(generation(), bad, scores=[score()])])
    assert reason in refused("langfuse", path)
    assert sum(imported("langfuse", path, strict=False)[1]["not_understood"].values()) == 1
