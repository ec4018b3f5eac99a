"""The schema's faults as lines: key = value, what is allowed, what to do."""

import math
import pickle

import pytest
import yaml
from pydantic import ValidationError

from erp.build import build
from erp.compose import compose, conf_folder
from erp.config import PROGRAMS, validate
from erp.errors import ErpError, shorten
from erp.formats.run import RUN
from erp.table.source import TableSource

PLUG = {"_target_": "erp.routers.ridge.Ridge"}


def train(**changes):
    """A whole container of `erp train`, with some keys changed; None leaves a key out."""
    whole = {
        "data": {"_target_": "erp.table.synthetic.Synthetic"},
        "reward_model": {},
        "pool": {},
        "backbone": PLUG,
        "router": PLUG,
        "policy": PLUG,
        "cost": {},
        "trainer": {},
        "tracking": {},
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def faults(container, program="train"):
    with pytest.raises(ErpError) as refused:
        validate(program, container)
    assert not any("\n" in fault for fault in refused.value.faults)
    return list(refused.value.faults)


def test_a_valid_container_becomes_the_program_s_config():
    config = validate("train", train(seed=3, split={"by": "prompt"}))
    assert isinstance(config, PROGRAMS["train"])
    assert (config.seed, config.split.by, config.split.test) == (3, "prompt", 0.5)


def test_a_config_does_not_change():
    config = validate("train", train())
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sed": 3}, "sed = 3: there is no such key; did you mean seed? known here: data, reward_model"),
        ({"split": {"sed": 3}}, "split.sed = 3: there is no such key; did you mean seed? known here: by, seed, test"),
        ({"split": {"qqq": 3}}, "split.qqq = 3: there is no such key; known here: by, seed, test"),
        ({"seed": "many"}, "seed = many: input should be a valid integer"),
        ({"split": {"by": "chance"}}, "split.by = chance: input should be 'group', 'prompt', 'table' or 'category'"),
        ({"split": {"test": 1.0}}, "split.test = 1.0: input should be less than 1"),
        ({"split": {"validation": 0}}, "split.validation = 0: input should be greater than 0"),
        ({"bootstrap": {"draws": 99}}, "bootstrap.draws = 99: input should be greater than or equal to 100"),
        ({"objective": "accuracy"}, "objective = accuracy: input should be 'utility' or 'area'"),
        ({"tracking": {"mode": False}}, "tracking.mode = False: input should be 'off', 'offline' or 'online'"),
        ({"router": None}, "router: is required; give router=<value>"),
        ({"data": {**PLUG, "path": "???"}}, "data.path: is required; give data.path=<value>"),
        ({"weights_dir": "???"}, "weights_dir: is required; give weights_dir=<value>"),
        ({"data": "mini"}, "data = mini: input should be a valid dictionary"),
        (
            {"data": {"name": "same"}},
            "data: names no class (_target_), and `same` is the table of a run; choose another",
        ),
        ({"pool": {"members": []}}, "pool.members = []: list should have at least 1 item"),
    ],
)
def test_each_kind_of_fault_is_one_line(changes, line):
    (fault,) = faults(train(**changes))
    assert fault.startswith(line)


def test_items_of_a_list_are_named_by_their_index():
    members = [{"name": "a"}, {"nam": "b", "active_parameters": 0}]
    lines = faults(train(pool={"members": members}))
    assert lines[0] == "pool.members.1.name: is required; give pool.members.1.name=<value>"
    assert lines[1] == "pool.members.1.active_parameters = 0: input should be greater than 0"
    assert lines[2].startswith("pool.members.1.nam = b: there is no such key; did you mean name?")
    (fault,) = faults(train(pool={"members": [{"name": "a", "nam": "b"}]}))
    assert fault.startswith(
        "pool.members.0.nam = b: there is no such key; did you mean name? known here: name, input_usd"
    )


def test_several_faults_are_all_named_once():
    lines = faults(train(sed=1, objective="x", split={"test": 2}, data={**PLUG, "path": "???"}, policy=None))
    keys = [line.split(" = ")[0].split(":")[0] for line in lines]
    assert sorted(keys) == sorted(["sed", "objective", "split.test", "data.path", "policy"])


def test_each_program_has_its_own_keys():
    (fault,) = faults({"run": "x", "router": "knn"}, "route")
    assert fault.startswith("router = knn: there is no such key")
    assert faults({"run": "???"}, "route") == ["run: is required; give run=<value>"]
    assert validate("evaluate", {"run": "x", "data": {"name": "same"}}).same
    assert not validate("extend", {"run": "x", "data": PLUG}).same


def test_lambda_is_called_lambda():
    assert validate("route", {"run": "x", "lambda": 0.5}).lambda_ == 0.5
    assert validate("route", {"run": "x", "lambda": math.inf}).lambda_ == math.inf
    for value, words in ((-1, "greater than or equal to 0"), ("a", "valid number"), (math.nan, " 0")):
        (fault,) = faults({"run": "x", "lambda": value}, "route")
        assert fault.startswith(f"lambda = {value}: ")
        assert words in fault
    (fault,) = faults({"run": "x", "lamda": 1}, "route")
    assert "did you mean lambda?" in fault


def test_errors_join_without_repeats_and_survive_a_process_pool():
    joined = ErpError.all_of([ErpError("a", "b"), ErpError("b", "c")])
    assert joined.faults == ("a", "b", "c")
    assert pickle.loads(pickle.dumps(joined)).faults == joined.faults
    assert str(joined) == "a\nb\nc"


def test_long_lists_are_cut_with_the_number_left_out():
    assert shorten(range(3)) == "0, 1, 2"
    assert shorten(range(10), 8).endswith("7, ... (2 more)")


TABLE = {"path": "t.csv", "copies": "fold", "columns": {"reward": "score", "prompt": None}, "prompt_from": None}


@pytest.mark.parametrize("kind", [("table", TABLE), ("mini", {}), ("synthetic", {"prompts": 60, "seed": 3})])
def test_data_of_an_earlier_version_names_its_class(kind):
    """The config of a run from before ``data`` was a node with a class reads as the same table."""
    name, settings = kind
    config = {"seed": 1, "data": {"kind": name, **settings}}
    found = RUN.read(config, "config.yaml")
    assert found == {"seed": 1, "data": {"name": name, "_target_": found["data"]["_target_"], **settings}}
    option = yaml.safe_load((conf_folder() / f"data/{name}.yaml").read_text())
    assert (option["name"], option["_target_"]) == (name, found["data"]["_target_"])
    build(found["data"], TableSource, key="data")
    assert RUN.read(found, "config.yaml") == found
    assert RUN.read({"seed": 1}, "config.yaml") == {"seed": 1}


def test_a_key_that_was_replaced_says_by_what():
    with pytest.raises(ErpError) as refused:
        compose("train", ["data.kind=synthetic"])
    assert refused.value.faults == ("data.kind = synthetic: there is no such key any more; choose data=<option>",)
