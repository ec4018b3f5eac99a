"""What a dashboard would see of a run, read back from the file W&B leaves offline."""

import json
import struct
from pathlib import Path

import pytest
import yaml
from wandb.proto.wandb_internal_pb2 import Record

from erp.config import Tracking
from erp.errors import ErpError
from erp.programs.train import train
from erp.tracking import choices, curve_rows, flattened, routing_rows, tracked

HEADER, BLOCK, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")
FULL, LAST = 1, 4  # 2 and 3 are a record's first and middle pieces
CONFIG = {"router": {"name": "ridge"}, "backbone": {"name": "hashing"}, "policy": {}, "seed": 3, "split": {"test": 0.5}}


def records(file: Path) -> list[Record]:
    """The records of a `.wandb` file: a LevelDB log of protobuf messages."""
    data, at, pieces, found = file.read_bytes(), HEADER, b"", []
    while at + RECORD_HEADER.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < RECORD_HEADER.size:  # a header never crosses a block's end
            at += left
            continue
        _, length, kind = RECORD_HEADER.unpack_from(data, at)
        at += RECORD_HEADER.size
        pieces += data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            found.append(Record.FromString(pieces))
            pieces = b""
    return found


class Recorded:
    """One offline run."""

    def __init__(self, folder: Path) -> None:
        (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        content = records(file)
        run = next(record.run for record in content if record.HasField("run"))
        self.id, self.group, self.tags, self.project = run.run_id, run.run_group, list(run.tags), run.project
        self.name = run.display_name
        self.config = {item.key: json.loads(item.value_json) for item in run.config.update}
        self.config.pop("_wandb", None)
        self.summary = _items(record.summary.update for record in content if record.HasField("summary"))
        self.history = _items(record.history.item for record in content if record.HasField("history"))
        self.files = file.parent / "files"
        self.finished = any(record.HasField("exit") for record in content)

    def logged(self, key: str) -> dict:
        """A table's or figure's entry in the history, whose parts are keys of their own."""
        return {name.removeprefix(f"{key}/"): v for name, v in self.history.items() if name.startswith(f"{key}/")}


def _items(groups) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for items in groups for item in items}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No login, no settings and no server of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))


def quick(folder, *more):
    """A small run of the real program."""
    overrides = [
        "data=synthetic",
        "data.prompts=120",
        "data.members=2",
        "data.samples=2",
        "backbone=hashing",
        "bootstrap.draws=100",
    ]
    return train([*overrides, "trainer.progress=false", f"out={folder}", *more])


def test_a_run_s_copy_holds_its_config_its_numbers_its_tables_and_its_figures(tmp_path):
    result = quick(tmp_path / "runs", "tracking.project=mine", "tracking.tags=[first]", "sweep=abcd")
    run = Recorded(result.folder)
    assert run.finished
    assert run.id == result.folder.name[-10:]
    assert (run.name, run.group, run.project) == (result.folder.name, "abcd", "mine")
    assert run.tags == ["first", "router=ridge", "backbone=hashing", "policy=lambda"]

    assert run.config == yaml.safe_load((result.folder / "config.yaml").read_text())

    routing = result.results["routing"]
    assert run.summary["routing/router/reward"] == pytest.approx(routing["router"]["reward"])
    assert run.summary["routing/oracle/reward"] == pytest.approx(routing["oracle"]["reward"])
    assert run.summary["objective/value"] == pytest.approx(result.objective)
    members = [key for key in run.summary if key.startswith("routing/members/")]
    assert {key.split("/")[2] for key in members} == set(routing["members"])
    assert not any(key.startswith(("curves", "run/", "verdict")) for key in run.summary)

    for table, rows in (("routing", routing_rows(result.results)), ("curves", curve_rows(result.results))):
        entry = run.logged(f"tables/{table}")
        assert (entry["_type"], entry["nrows"], entry["ncols"]) == (
            "table-file",
            len(rows["data"]),
            len(rows["columns"]),
        )
        stored = json.loads((run.files / entry["path"]).read_text())
        assert stored["columns"] == rows["columns"]
        assert [row[0] for row in stored["data"]] == [row[0] for row in rows["data"]]
    figures = list(result.folder.glob("figures/*.png"))
    assert figures
    for figure in figures:
        entry = run.logged(f"figures/{figure.stem}")
        assert entry["_type"] == "image-file"
        assert (run.files / entry["path"]).stat().st_size > 1000


def test_off_leaves_no_trace(tmp_path):
    with tracked(Tracking(mode="off"), "id", "name", tmp_path, CONFIG, None) as tracker:
        assert tracker.lightning_logger() is None
        tracker.log_results({"not": "read"}, [])
    assert not (tmp_path / "wandb").exists()


def test_two_runs_in_one_process_are_two(tmp_path):
    for seed in (1, 2):
        with tracked(Tracking(), f"run{seed}", f"name{seed}", tmp_path / str(seed), {**CONFIG, "seed": seed}, None):
            pass
    one, two = Recorded(tmp_path / "1"), Recorded(tmp_path / "2")
    assert (one.id, one.name, one.config["seed"], one.finished) == ("run1", "name1", 1, True)
    assert (two.id, two.name, two.config["seed"], two.finished) == ("run2", "name2", 2, True)
    assert one.group == ""
    assert one.tags == ["router=ridge", "backbone=hashing"]


def test_a_run_that_fails_is_finished_and_the_next_is_a_new_one(tmp_path):
    with pytest.raises(ZeroDivisionError), tracked(Tracking(), "bad", "bad", tmp_path / "bad", CONFIG, None):
        raise ZeroDivisionError
    with tracked(Tracking(), "good", "good", tmp_path / "good", CONFIG, None):
        pass
    assert (Recorded(tmp_path / "bad").finished, Recorded(tmp_path / "good").id) == (True, "good")


def test_online_without_a_login_is_one_line(tmp_path):
    with (
        pytest.raises(ErpError) as refused,
        tracked(Tracking(mode="online"), "id", "name", tmp_path, CONFIG, None),
    ):
        raise AssertionError("is not reached")
    (fault,) = refused.value.faults
    assert "\n" not in fault
    assert all(word in fault for word in ("tracking.mode = online", "wandb login", "tracking=wandb", "tracking=off"))


# What is sent, without sending it.


def test_nested_results_become_flat_keys():
    values = {"a": {"b": {"c": 1}, "list": [1, 2]}, "text": "t", "none": None, "flag": True}
    assert flattened(values) == {"a/b/c": 1, "text": "t", "none": None, "flag": True}


def test_choices_are_those_that_have_a_name():
    assert choices(CONFIG) == ["router=ridge", "backbone=hashing"]


def row(reward, **more):
    return {"reward": reward, "cost": 2 * reward, "gain_vs_best_single": {"mean": 0, "low": -1, "high": 1}, **more}


def test_the_routing_table_has_references_then_members():
    results = {"routing": {"unit": "usd", "router": row(3, headroom_recovered=0.5), "members": {"a": row(1)}}}
    table = routing_rows(results)
    assert table["columns"] == ["row", "reward", "cost", "gain", "gain_low", "gain_high", "headroom_recovered"]
    assert table["data"] == [["router", 3, 6, 0, -1, 1, 0.5], ["member: a", 1, 2, 0, -1, 1, None]]


def test_the_curves_are_one_long_table():
    curves = {"router": {"lambda": [0, None], "cost": [2, 1], "reward": [4, 3]}}
    assert curve_rows({"curves": curves})["data"] == [["router", 0, 2, 4], ["router", None, 1, 3]]
