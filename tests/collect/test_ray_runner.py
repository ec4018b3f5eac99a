"""A local cluster of two workers. Starting it takes seconds, so all of it stands in few tests."""

import os
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from erp import cli
from erp.collect.runners.ray import room_on
from tests.collect.commands import command, diary, samples

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """Workers import the tests' parts, as a user's would theirs from an installed package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(["", str(Path.cwd()), *sys.path])}},
        )  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture
def local(tmp_path):
    """The table that one process makes."""
    folder = tmp_path / "local"
    folder.mkdir()
    assert cli.main(command(folder)) == 0
    return samples(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # ray leaves sockets and processes to the collector
def test_two_workers_make_the_same_table(cluster, local, tmp_path):
    assert cli.main(command(tmp_path, "runner=ray", "runner.workers=2")) == 0
    pd.testing.assert_frame_equal(samples(tmp_path), local)
    asked = len(diary(tmp_path))
    assert cli.main(command(tmp_path, "runner=ray", "runner.workers=2")) == 0
    assert len(diary(tmp_path)) == asked


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_costs_its_unit_and_not_the_run(cluster, local, tmp_path):
    assert cli.main(command(tmp_path, "runner=ray", "runner.workers=2", "engine.die=chair")) == 0
    assert (tmp_path / "died").exists()
    pd.testing.assert_frame_equal(samples(tmp_path), local)
    requests = [tuple(entry) for entry in diary(tmp_path)]
    assert len(requests) - len(set(requests)) in (1, 2)  # what the lost unit had asked already


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_resources_that_no_node_has_are_refused(cluster, tmp_path, capsys):
    members = "[{name: small, resources: {num_gpus: 4}}]"
    assert cli.main(command(tmp_path, "runner=ray", members=members)) == 2
    assert "a worker needs CPU 1, GPU 4" in capsys.readouterr().err


def test_a_worker_lies_on_one_node():
    two = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0}]
    assert room_on(two, {"CPU": 1}) == 4
    assert room_on(two, {"CPU": 1, "GPU": 1}) == 1
    assert room_on(two, {"CPU": 4}) == 0  # the cluster has four
    assert room_on(two, {"CPU": 0.5, "GPU": 0.25}) == 4
    assert room_on([], {"CPU": 1}) == 0


def test_a_worker_goes_on_with_the_model_it_holds():
    from erp.collect.runners.ray import which_model

    assert which_model({"a": 1, "b": 2}, "a") == "a"
    assert which_model({"a": 1, "b": 2}, None) == "b"
    assert which_model({"a": 0, "b": 2}, "a") == "b"
    assert which_model({"a": 1, "b": 2}, "c") == "b"
