"""Which commands are the same run, and what a run folder says about itself."""

import json
import threading
from multiprocessing import get_context

import numpy as np
import pytest
import yaml

from erp.compose import compose
from erp.config import validate
from erp.errors import ErpError
from erp.files import read_json, write_json
from erp.runs import RunFolder, run_hash
from erp.training.plan import prepare

CONFIG = {"seed": 0, "router": {"name": "ridge"}, "trainer": {"max_epochs": 3, "accelerator": "cpu"}}


def name(*overrides):
    """The run hash of a command, before its table is known."""
    return run_hash(
        validate("train", compose("train", list(overrides))).model_dump(mode="json", by_alias=True), "table"
    )


@pytest.mark.parametrize(
    "override",
    [
        "out=elsewhere",
        "cache_dir=/tmp/c",
        "weights_dir=/tmp/w",
        "sweep=abc",
        "tracking=off",
        "tracking.project=other",
        "trainer.accelerator=cpu",
        "trainer.progress=false",
        "cost.prices=prices.json",
        "split.from=runs/a",  # the parts that follow stand for it
        "data=synthetic",  # the table's content stands for it
    ],
)
def test_where_and_how_a_run_is_made_is_not_what_it_is(override):
    assert name(override) == name()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "split.seed=1",
        "split.test=0.4",
        "router=knn",
        "router.alphas=[1.0]",
        "backbone=hashing",
        "policy.lambda=0.5",
        "cost=none",
        "trainer.batch_size=8",
        "bootstrap.draws=200",
        "objective=area",
        "pool.members=[{name: a}]",
        "reward_model.name=rm",
    ],
)
def test_what_changes_a_result_changes_the_hash(override):
    assert name(override) != name()


def test_costs_predicted_linearly_are_the_run_that_they_were_before_there_was_a_choice():
    def of(**cost):
        return run_hash({**CONFIG, "cost": {"name": "usd", **cost}})

    assert of(predict=True) == of(predict=True, head="linear") != of(predict=True, head=None)
    assert len({of(predict=True, head=head) for head in ("linear", "log", None)}) == 3
    assert of(predict=False) == of(predict=False, head=None) == of(predict=False, head="log")


def test_a_key_that_came_later_names_no_run_where_it_is_empty_however_deep_a_router_lies():
    def of(router):
        return run_hash({**CONFIG, "router": router})

    for within in (lambda mlp: mlp, lambda mlp: {"base": mlp}, lambda mlp: {"candidates": {"any": mlp, "other": {}}}):
        old, none, empty, one = (within(mlp) for mlp in ({}, {"beside": None}, {"beside": []}, {"beside": ["a"]}))
        assert of(old) == of(none) == of(empty) != of(one)


def test_the_content_of_the_table_and_of_the_prices_is_in_the_hash():
    assert len({run_hash(CONFIG, *contents) for contents in (["a", ""], ["b", ""], ["a", "p"], [])}) == 4
    assert run_hash(CONFIG, "a") == run_hash(dict(reversed(CONFIG.items())), "a")


def test_ten_hex_digits_and_the_config_is_left_alone():
    before = json.dumps(CONFIG)
    assert int(run_hash(CONFIG), 16) >= 0
    assert len(run_hash(CONFIG)) == 10
    assert json.dumps(CONFIG) == before


def test_equal_tables_in_two_files_are_one_run_and_other_rewards_are_another(tmp_path):
    import pandas as pd

    rows = [(f"prompt {i}", m, float(i % 3 + (m == "a"))) for i in range(40) for m in "ab"]
    frame = pd.DataFrame(rows, columns=["prompt", "model", "reward"])
    frame.to_parquet(tmp_path / "one.parquet")
    frame.to_parquet(tmp_path / "two.parquet")
    frame.assign(reward=frame["reward"] + 1).to_parquet(tmp_path / "three.parquet")
    names = []
    for table in ("one", "two", "three"):
        overrides = ["data=table", f"data.path={tmp_path / table}.parquet", f"out={tmp_path}", "backbone=hashing"]
        names.append(prepare(validate("train", compose("train", overrides))).folder.path.name)
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("ridge-hashing-")


def named(*overrides, tmp_path, **replaced):
    """The folder's name of a command on a synthetic table, with values replaced in its config."""
    small = ["data=synthetic", "data.prompts=60", "backbone=hashing", f"out={tmp_path}"]
    return prepare(validate("train", compose("train", [*small, *overrides]) | replaced)).folder.path.name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["policy.lambda=0"], ["policy.lambda=0.0"]),
        (["policy.lambda=2"], ["policy.lambda=2.0"]),
        (["policy=guarantee", "policy.alpha=1"], ["policy=guarantee", "policy.alpha=1.0"]),
        (["router.alphas=[1, 10]"], ["router.alphas=[1.0, 10.0]"]),
        (["router.alphas=[1, 10]"], ["router.alphas=[1, 1e1]"]),
        (["router=cluster_mean", "router.kappas=[5]"], ["router=cluster_mean", "router.kappas=[5.0]"]),
        (["router=stack", "router.parts.zooter.beta=1"], ["router=stack", "router.parts.zooter.beta=1.0"]),
        (["category_block=0"], ["category_block=0.0"]),
    ],
)
def test_one_value_written_in_two_ways_is_one_run(tmp_path, one, other):
    assert named(*one, tmp_path=tmp_path) == named(*other, tmp_path=tmp_path)
    assert named(*one, tmp_path=tmp_path) != named("policy.lambda=7", tmp_path=tmp_path)


def test_a_default_spelled_out_is_the_default(tmp_path):
    bare = {"name": "knn", "_target_": "erp.routers.knn.KNN"}
    spelled = compose("train", ["router=knn"])["router"]
    both = [named(tmp_path=tmp_path, router=node) for node in (bare, spelled)]
    assert both[0] == both[1] != named(tmp_path=tmp_path, router={**bare, "k": 3})


# The folder.


def test_a_run_that_ends_well(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert not folder.finished
    with folder.running(CONFIG) as needed:
        assert needed
        assert read_json(folder.status) == {"status": "running"}
        assert folder.load_config() == CONFIG
        write_json(folder.results, {})
        assert not folder.finished
    assert read_json(folder.status) == {"status": "ok"}
    assert folder.finished


def test_a_finished_run_is_found_and_not_touched(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.running(CONFIG):
        write_json(folder.results, {})
    with RunFolder(tmp_path).running({"seed": 1}) as needed:
        assert not needed
    assert folder.load_config() == CONFIG
    assert folder.finished


def test_results_alone_or_a_status_alone_are_not_finished(tmp_path):
    folder = RunFolder(tmp_path)
    write_json(folder.results, {})
    assert not folder.finished
    with folder.running(CONFIG) as needed:
        assert needed
        folder.results.unlink()
    assert not folder.finished


@pytest.mark.parametrize("error", [ValueError("no such thing"), KeyboardInterrupt("stop"), ErpError("a", "b")])
def test_a_failed_run_keeps_why_and_is_made_again(tmp_path, error):
    folder = RunFolder(tmp_path)
    with pytest.raises(type(error)), folder.running(CONFIG):
        raise error
    assert read_json(folder.status) == {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    assert not folder.finished
    with folder.running(CONFIG) as needed:  # the lock is free again
        assert needed
        write_json(folder.results, {})
    assert folder.finished


def test_numpy_values_of_a_config_are_plain_in_its_file(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.running({"alphas": np.array([1.0, 2.0]), "seed": np.int64(3), "who": "naïve 🙂"}):
        pass
    assert folder.load_config() == {"alphas": [1.0, 2.0], "seed": 3, "who": "naïve 🙂"}
    assert "naïve" in folder.config.read_text(encoding="utf-8")


def test_a_folder_without_a_config_or_with_another_file_is_named(tmp_path):
    with pytest.raises(ErpError, match=f"run = {tmp_path}: no config.yaml there"):
        RunFolder(tmp_path).load_config()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump([1, 2]))
    with pytest.raises(ErpError, match=f"run = {tmp_path}: config.yaml is no mapping"):
        RunFolder(tmp_path).load_config()


def _refused(path):
    """Whether making the run is refused because somebody else makes it."""
    try:
        with RunFolder(path).running(CONFIG):
            return False
    except ErpError as error:
        return str(error).startswith(f"run = {path}: another process is making this run")


def _refused_in_process(path, answers):
    answers.put(_refused(path))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, where threads run
def test_another_process_making_the_same_run_is_refused(tmp_path):
    context = get_context("fork")
    answers = context.Queue()
    with RunFolder(tmp_path).running(CONFIG):
        process = context.Process(target=_refused_in_process, args=(tmp_path, answers))
        process.start()
        assert answers.get(timeout=30)
        process.join(30)
        assert read_json(tmp_path / "status.json") == {"status": "running"}
    assert not _refused(tmp_path)


def test_another_thread_making_the_same_run_is_refused(tmp_path):
    answers = []
    with RunFolder(tmp_path).running(CONFIG):
        thread = threading.Thread(target=lambda: answers.append(_refused(tmp_path)))
        thread.start()
        thread.join(30)
    assert answers == [True]
