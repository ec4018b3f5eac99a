"""A gateway's decision log: answers become rows, feedback their rewards."""

from __future__ import annotations

import json

import pytest

from erp.config.serve import Log
from erp.errors import ErpError
from erp.serving.log import DecisionLog
from erp.table.read import read_table
from tests.importers.benchmarks import cells, imported, refused

UNSERVED = {"answered": None, "status": 502}


def decision(id, prompt="1+1?", answered="small", **more):
    return {"id": id, "time": 1.0, "prompt": prompt, "chosen": answered, "order": ["small", "large"], "path": "routed",
            "propensity": 0.99, "answered": answered, "status": 200, "prompt_tokens": 7, "completion_tokens": 2,
            "cost_usd": 0.5, **more}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


def write(folder, *records, feedback=(), prompts=True, part_mb=64.0):
    log = DecisionLog(Log(folder=str(folder), prompts=prompts, part_mb=part_mb))
    for record in records:
        log.write(record)
    for id_, reward in feedback:
        log.feedback(id_, reward)
    log.close()


def test_answers_become_rows_and_the_last_feedback_their_reward(folder):
    write(
        folder,
        decision("1"),
        decision("2", answered="large", prompt_tokens="many", completion_tokens=-1, cost_usd=None),
        decision("3", prompt="2+2?"),
        feedback=[("1", 0.0), ("2", 1.0), ("1", 0.25), ("nobody's", 1.0)],
        part_mb=1e-4,
    )
    assert len(list(folder.iterdir())) > 3
    table, manifest = imported("gateway", folder)
    frame = cells(table, "prompt_tokens", "completion_tokens", "cost_usd")
    scored = frame[frame["reward"].notna()]
    assert scored[["text", "model", "reward"]].to_numpy().tolist() == [["1+1?", "large", 1.0], ["1+1?", "small", 0.25]]
    assert scored["cost_usd"].isna().tolist() == [True, False]
    assert scored["prompt_tokens"].isna().tolist() == [True, False]
    assert manifest["missing"] == {"no feedback": 1}
    assert manifest["left_out"] == {"feedback on a request that is not in the log, or has no answer": 1}
    assert (manifest["observational"], table.reward_model) == (True, "feedback")


def test_a_prompt_that_is_asked_again_is_a_sample_more(folder):
    ids = [str(i) for i in range(4)]
    write(folder, *map(decision, ids), feedback=[(id_, float(id_)) for id_ in ids])
    table, _ = imported("gateway", folder)
    assert sorted(table.samples["reward"]) == [0, 1, 2, 3]


def test_what_was_not_answered_or_has_no_text_is_left_out(folder):
    write(
        folder,
        decision("1"),
        decision("2", **UNSERVED),
        decision("3", status=400),
        decision("4", prompt=None),
        decision("1"),
        feedback=[("1", 1.0)],
    )
    _, manifest = imported("gateway", folder)
    assert manifest["left_out"] == {
        "requests that no member answered": 2,
        "requests without a text": 1,
        "requests that stand there twice": 1,
    }


def test_a_log_without_texts_or_of_a_newer_form_is_refused(folder):
    write(folder, decision("1"), feedback=[("1", 1.0)], prompts=False)
    assert "gateway.log.prompts=true" in refused("gateway", folder)
    next(folder.iterdir()).write_text(json.dumps({"format": 9, "kind": "decision"}) + "\n")
    assert "made by a newer erp" in refused("gateway", folder)


def test_a_line_that_is_none_stops_the_import_or_is_counted(folder):
    write(folder, decision("1"), feedback=[("1", 1.0)])
    (folder / "torn.ndjson").write_text('{"format":1,"kind":"dec')
    (folder / "other.ndjson").write_text(
        '{"format":1,"kind":"tea"}\n{"format":1,"kind":"feedback","id":"1","reward":"x"}\n'
    )
    assert "no record" in refused("gateway", folder)
    _, manifest = imported("gateway", folder, strict=False)
    assert manifest["not_understood"] == {
        "neither a decision nor feedback": 1,
        "no record": 1,
        "reward is no number": 1,
    }


def test_a_log_that_is_taken_for_a_table_is_answered_with_the_import(folder):
    write(folder, decision("1"))
    for path in (folder, next(folder.iterdir())):
        with pytest.raises(ErpError, match=r"erp import source=gateway"):
            read_table(str(path))
