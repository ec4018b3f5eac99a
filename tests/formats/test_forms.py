"""Numbers of forms: what is older is read as it would be written today, what is newer is refused in one line."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from erp.errors import ErpError
from erp.formats import renamed
from erp.formats.checkpoint import CHECKPOINT
from erp.formats.form import Form
from erp.formats.results import RESULTS
from erp.formats.run import RUN
from erp.formats.sweep import SWEEP
from erp.formats.table import TABLE
from erp.routers.arithmetic import PredictedCosts
from tests.integration.conftest import erp, quick, scores, table  # noqa: F401


def test_each_form_is_made_of_the_one_before_from_where_a_file_stands():
    form = Form(lambda found: {**found, "seen": [1]}, lambda found: {**found, "seen": [*found["seen"], 2]})
    assert form.number == 2
    assert form.read({"a": 0}, "file") == {"a": 0, "seen": [1, 2]}
    assert form.read({"format": 1, "seen": []}, "file") == {"seen": [2]}
    assert form.read(form.numbered({"a": 0}), "file") == {"a": 0}
    assert list(form.numbered({"a": 0})) == ["format", "a"]


@pytest.mark.parametrize("number", [True, -1, "1", 1.0, None, [], {}])
def test_a_number_that_is_none_is_damage(number):
    with pytest.raises(ErpError, match=r"^file: format = .*: is no number of a form; restore the file$"):
        RUN.read({"format": number}, "file")


def test_a_lambda_without_a_unit_was_of_a_base_unit():
    assert RUN.read({"cost": {"kind": "usd"}}, "file")["cost"] == {"lambda_per": "base", "kind": "usd"}
    for config in ({"cost": {"lambda_per": "shown"}}, {"cost": 3}, {}):
        assert RUN.read(config, "file") == config


def test_costs_that_were_predicted_were_linear():
    for cost, head in (({"predict": True}, {"head": "linear"}), ({"predict": False}, {}), ({"head": "log"}, {})):
        assert RUN.read({"format": 1, "cost": cost}, "file")["cost"] == {**cost, **head}
    linear = {"cost_model.weight": np.ones((3, 2)), "cost_model.intercept": np.array([1.0, -2.0])}
    linear["cost_model.alpha"] = np.array(0.5)
    for kind in (torch.from_numpy, np.asarray):  # of a checkpoint, of an export that is read without torch
        kept = {name: kind(array) for name, array in linear.items()}
        found = CHECKPOINT.read({"format": 1, "card": {}, "state_dict": kept}, "file")["state_dict"]
        model = PredictedCosts(**{name.partition(".")[2]: np.asarray(array) for name, array in found.items()})
        np.testing.assert_array_equal(
            model.costs(np.array([[1, 2, 3], [0, 0, -1]], dtype=np.float32)), [[7, 4], [0, 0]]
        )
    assert CHECKPOINT.read({"format": 1, "card": {}, "state_dict": {"a": 1}}, "file")["state_dict"] == {"a": 1}


def test_a_checkpoint_gets_what_went_without_saying():
    embedding, kept = torch.zeros(3, 2), torch.tensor([0, 0, 2])
    of_knn = {"rewards": torch.zeros(3, 1), "neighbours": torch.tensor(2), "temperature": torch.tensor(1.0)}
    state = {
        **{f"router.base.{key}": value for key, value in {**of_knn, "embedding": embedding}.items()},
        **{f"router.parts.1.{key}": value for key, value in {**of_knn, "embedding": embedding, "twin": kept}.items()},
        "router.embedding": embedding,  # of another kind
        "router.binary": torch.tensor(False),
    }
    given = {"state_dict": state, "card": {"router": {"name": "knn"}, "category": "predicted"}}
    before = copy.deepcopy(given)
    found = CHECKPOINT.read(given, "file")
    assert torch.equal(found["state_dict"]["router.base.twin"], torch.arange(3))
    assert torch.equal(found["state_dict"]["router.parts.1.twin"], kept)
    assert set(found["state_dict"]) == (set(state) - {"router.binary"}) | {"router.base.twin"}
    assert found["card"] == {
        "router": {"name": "knn"}, "category": "predicted", "predict_cost": False, "category_block": 0.0,
        "policy_state": {}, "backbone_state": {}, "prompt_from": "last_user",
    }  # fmt: skip
    assert set(given["state_dict"]) == set(before["state_dict"])
    assert given["card"] == before["card"]


def test_results_get_what_they_did_not_tell():
    found = RESULTS.read({"run": {}, "data": None, "noise": {"reason": None}, "chosen_on_validation": {}}, "file")
    assert found == {
        "run": {"split_by": None},
        "data": None,
        "noise": {"doubt": None, "reason": None},
        "chosen_on_validation": {"same_reward_margin": None, "same_reward_difference": None, "cascades": None},
        "rewards_at_run_time": None,
        "disagreement": None,
        "predicted_costs": None,
        "overlaps": None,
    }


def test_a_form_of_results_that_lacks_another_encoder_or_a_look_at_rewards():
    found = {"run": {"name": "a"}, "level": 0.95}
    assert RESULTS.read({"format": 1, **found}, "file") == {
        **found, "rewards_at_run_time": None, "disagreement": None,
        "predicted_costs": None,
    }  # fmt: skip
    chosen = RESULTS.read({"format": 2, "chosen_on_validation": {"cascade": None}}, "file")
    assert chosen == {
        "chosen_on_validation": {"cascade": None, "cascades": None}, "rewards_at_run_time": None, "disagreement": None,
        "predicted_costs": None,
    }  # fmt: skip


def test_results_of_before_gains_were_told_by_disagreement():
    before = {"format": 4, "prediction": {"members": {"a": {"r2": 0.5}}, "r2_pooled": None}}
    assert RESULTS.read(before, "file") == {
        "disagreement": None, "predicted_costs": None,
        "prediction": {"members": {"a": {"auc": None, "r2": 0.5}}, "r2_pooled": None},
    }  # fmt: skip
    assert "disagreement" not in before


def test_nothing_less_than_the_best_single_was_allowed_where_no_margin_was_told():
    for most, margin in ((12.0, 0.0), (None, None)):
        found = RESULTS.read({"cost": {"shown_size": 1.0}, "chosen_on_validation": {"most_reward": most}}, "file")
        assert found["chosen_on_validation"]["same_reward_margin"] == margin


def test_that_costs_fell_back_is_read_from_the_note_that_said_so():
    told = "costs are counted in tokens (not flops, which 2 of 3 members have: no active parameters for c)"
    for notes, fell in ([told, told], [["estimated", told], told], [["estimated", 3], None], [None, None]):
        notes = [notes] if isinstance(notes, str) else notes
        assert RESULTS.read({"cost": {"shown_size": 1.0, "notes": notes}}, "file")["cost"]["fell_back"] == fell


def test_a_manifest_whose_format_was_a_name():
    assert TABLE.read({"format": "erp-reward-table", "version": 1, "k": 3}, "file") == {"k": 3}
    with pytest.raises(ErpError, match="no number of a form"):
        TABLE.read({"format": "another-table", "k": 3}, "file")


def test_what_is_written_says_its_number_and_a_newer_one_is_one_line(erp, quick, table, tmp_path):  # noqa: F811
    assert erp("train", "-m", *quick, "router=ridge,knn", "figures=false", "sweep=two").code == 0
    record = tmp_path / "runs/sweeps/two.json"
    first, second = map(tmp_path.__truediv__, json.loads(record.read_text())["runs"])
    for file, form in ((record, SWEEP), (first / "results.json", RESULTS)):
        assert next(iter(json.loads(file.read_text()).items())) == ("format", form.number)
    config = first / "config.yaml"
    assert config.read_text().startswith(f"format: {RUN.number}\n")
    assert torch.load(first / "checkpoint.ckpt", weights_only=True)["format"] == CHECKPOINT.number

    def refused(*arguments: str) -> str:
        answer = erp(*arguments)
        assert answer.code == 2
        (fault,) = answer.faults
        assert "made by a newer erp (format 9; this one reads up to" in fault
        assert fault.endswith("; install a newer erp")
        return fault

    shutil.copytree(first, tmp_path / "newer")
    newer = tmp_path / "newer"
    (newer / "config.yaml").write_text(config.read_text().replace(f"format: {RUN.number}\n", "format: 9\n"))
    assert "config.yaml" in refused("evaluate", f"run={newer}")
    refused("train", f"config={newer / 'config.yaml'}")
    shutil.copy(config, newer)

    content = torch.load(first / "checkpoint.ckpt", weights_only=True)
    torch.save({**content, "format": 9}, newer / "checkpoint.ckpt")
    (tmp_path / "asked.txt").write_text("a prompt\n")
    assert "checkpoint.ckpt" in refused("route", f"run={newer}", "input=asked.txt")
    shutil.copy(first / "checkpoint.ckpt", newer)

    results = json.loads((first / "results.json").read_text())
    (newer / "results.json").write_text(json.dumps({**results, "format": 9}))
    assert "results.json" in refused("report", f"run={newer}")
    beside = erp("compare", str(newer), str(second), "bootstrap.draws=100")
    assert beside.code == 0
    assert "made by a newer erp (format 9" in beside.err

    record.write_text(json.dumps({**json.loads(record.read_text()), "format": 9}))
    assert "two.json" in refused("compare", str(record))


def test_the_table_of_a_newer_erp_is_refused(erp, table, tmp_path):  # noqa: F811
    from erp.table.read import read_table
    from erp.table.write import write_table

    write_table(read_table(table), tmp_path / "kept")
    manifest = tmp_path / "kept/manifest.json"
    content = json.loads(manifest.read_text())
    assert next(iter(content.items())) == ("format", TABLE.number)
    assert erp("describe", "data=table", f"data.path={tmp_path / 'kept'}", "backbone=hashing").code == 0
    manifest.write_text(json.dumps({**content, "format": 2}))
    answer = erp("describe", "data=table", f"data.path={tmp_path / 'kept'}", "backbone=hashing")
    assert answer.code == 2
    assert "manifest.json: made by a newer erp (format 2; this one reads up to 1)" in answer.err


def test_old_names_are_read_in_folders_and_answered_on_a_command_line(erp, quick, tmp_path, monkeypatch):  # noqa: F811
    run = tmp_path / erp("train", *quick, "router=ridge", "figures=false").last
    there = "erp.routers.ridge.Ridge"
    monkeypatch.setitem(renamed.TARGETS, "erp.routers.flat.Flat", there)
    monkeypatch.setitem(renamed.KEYS, "bootstrap.count", "give bootstrap.draws=<number>")
    (config := run / "config.yaml").write_text(config.read_text().replace(there, "erp.routers.flat.Flat"))
    content = torch.load(run / "checkpoint.ckpt", weights_only=True)
    content["card"]["router"]["_target_"] = "erp.routers.flat.Flat"
    torch.save(content, run / "checkpoint.ckpt")
    (tmp_path / "asked.txt").write_text("a prompt\n")
    assert erp("route", f"run={run}", "input=asked.txt").code == 0
    assert "finished already" in erp("train", f"config={config}").out
    typed = erp("train", *quick, "router._target_=erp.routers.flat.Flat", "bootstrap.count=200")
    assert typed.faults == [
        "erp train: bootstrap.count = 200: there is no such key any more; give bootstrap.draws=<number>"
    ]
    typed = erp("train", *quick, "router._target_=erp.routers.flat.Flat")
    assert typed.faults == [f"erp train: router._target_ = erp.routers.flat.Flat: is {there} now; give that"]
    added = yaml.safe_load(config.read_text())
    added["bootstrap"]["count"] = 200
    config.write_text(yaml.safe_dump(added))
    assert erp("train", f"config={config}").faults == [
        "erp train: bootstrap.count = 200: there is no such key any more; give bootstrap.draws=<number>"
    ]
