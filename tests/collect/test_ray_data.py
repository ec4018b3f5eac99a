"""A cluster of two nodes with one CPU each, on this machine. Starting it takes seconds: all share it."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pandas as pd
import pytest

from erp import cli
from erp.collect.runners.ray_data import room_on
from tests.collect.commands import command, diary, samples
from tests.engines.chat_server import ChatServer, completion, error

ray = pytest.importorskip("ray")
on_ray = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # ray leaves sockets and processes to the collector


@pytest.fixture(scope="module")
def cluster():
    """Workers import the tests' parts, as a user's would theirs from an installed package."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("NO_PROXY", "*")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        path = os.pathsep.join(["", str(Path.cwd()), *sys.path])
        ray.init(
            address=cluster.address, log_to_driver=False, logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": path, "NO_PROXY": "*"}},
        )  # fmt: skip
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def said(body):
    """What the server answers: the same to the same call."""
    called = f"{body['model']}|{body['messages'][-1]['content']}|{body['seed']}"
    return completion(hashlib.sha256(called.encode()).hexdigest()[:8])


def over(server, folder, *more, runner="ray_data", engine="openai", **options):
    """The exit code of the small collection, sampled by a server."""
    folder.mkdir(exist_ok=True)
    arguments = [f"engine={engine}", f"engine.base_url={server.url}", f"runner={runner}", *more]
    arguments += ["engine.api_key_env=null"] if engine == "openai" else []
    return cli.main(command(folder, *arguments, **options))


@pytest.mark.filterwarnings("ignore")
def test_an_address_where_nobody_listens_is_told_at_once(tmp_path, capsys):  # before there is a cluster to be on
    with socket.socket() as taken:  # and not listened at
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(command(tmp_path, "runner=ray_data", f"runner.address={address}")) == 2
    assert f"runner.address = {address}: no cluster there" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["/no/such/python", "nosuchpython3 -m pdb", "'python"])
def test_a_python_that_is_not_there_is_told_before_ray_starts(program, tmp_path, capsys):  # which would wait for it
    command_line = command(tmp_path, "runner=ray_data", f'runner.runtime_env={{py_executable: "{program}"}}')
    assert cli.main(command_line) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"erp collect: runner.runtime_env.py_executable = {program}: there is no such program here")
    assert not ray.is_initialized()


def test_a_server_that_is_down_is_told_before_ray_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        more = (f"engine.base_url={address}", "engine.api_key_env=null", "runner=ray_data")
        assert cli.main(command(tmp_path, "engine=openai", *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"engine.base_url = {address}: nobody answers there" in line
    assert not ray.is_initialized()


class TestOnRay:
    pytestmark = on_ray

    def test_a_server_s_table_is_the_one_that_one_process_makes(self, cluster, tmp_path):
        with ChatServer(lambda body, _: said(body)) as server:
            assert over(server, tmp_path / "local", runner="local") == 0
            asked = len(server.calls)
            assert over(server, tmp_path / "ray") == 0
            assert len(server.calls) == 2 * asked
            assert over(server, tmp_path / "ray") == 0
            assert len(server.calls) == 2 * asked
        pd.testing.assert_frame_equal(samples(tmp_path / "ray"), samples(tmp_path / "local"))

    def test_a_worker_that_is_killed_costs_what_was_under_way(self, cluster, tmp_path):
        with ChatServer(lambda body, _: said(body)) as server:
            assert over(server, tmp_path / "local", "steps=[sample]", runner="local") == 0
            asked, died = len(server.calls), tmp_path / "died"
            assert over(server, tmp_path / "ray", "steps=[sample]", f"engine.died={died}", engine="mortal") == 0
            assert died.exists()
            assert asked < len(server.calls) - asked <= asked + 2  # two at once
        pd.testing.assert_frame_equal(samples(tmp_path / "ray", None), samples(tmp_path / "local", None))

    def test_units_that_lose_their_worker_too_often_are_named_and_the_next_command_does_them(
        self, cluster, tmp_path, capsys
    ):
        (tmp_path / "local").mkdir()
        assert cli.main(command(tmp_path / "local")) == 0
        dying = command(tmp_path, "runner=ray_data", "runner.attempts=1", "engine.die=chair", "block=1")
        assert cli.main(dying) == 2
        assert "runner: 1 units were not done, such as small-00002: its worker was lost" in capsys.readouterr().err
        before = [tuple(entry) for entry in diary(tmp_path)]
        assert len(set(before)) == 14  # every other prompt of either member
        assert cli.main(dying) == 0
        assert [entry[1] for entry in diary(tmp_path)[len(before) :]] == ["chair"]
        pd.testing.assert_frame_equal(samples(tmp_path), samples(tmp_path / "local"))

    def test_a_model_is_loaded_once_whatever_is_tried_again(self, cluster, tmp_path, capsys):
        arguments = command(tmp_path, "engine=heavy", "engine.fail=[bread]", "runner=ray_data", "runner.workers=1")
        assert cli.main([*arguments, "max_failed=0.2", "retries=2"]) == 0, capsys.readouterr().err
        assert sorted(diary(tmp_path, "loads")) == ["org/big", "small"]
        assert [entry[1] for entry in diary(tmp_path)].count("bread") == 2 * (1 + 2)

    def test_sigterm_ends_a_cluster_that_was_started_here(self, tmp_path):
        reached, heard = threading.Event(), threading.Event()

        def answer(body, number):
            if number >= 20 and not heard.is_set():
                reached.set()
                heard.wait(60)
            return said(body)

        with ChatServer(answer) as server:
            arguments = command(tmp_path, "engine=openai", "engine.api_key_env=null", f"engine.base_url={server.url}")
            path = os.pathsep.join(["", str(Path.cwd()), *sys.path])
            process = subprocess.Popen(
                [sys.executable, "-m", "erp", *arguments, "runner=ray_data"], text=True, stderr=subprocess.PIPE,
                env=os.environ | {"NO_PROXY": "*", "PYTHONPATH": path},
            )  # fmt: skip
            assert reached.wait(120)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
            heard.set()
            assert process.returncode == 143
            assert err.splitlines()[-1] == "erp collect: terminated; the same command goes on from what is finished"
            assert cli.main(arguments) == 0
        assert len(samples(tmp_path)) == 7 * 2 * 3

    def test_members_with_different_needs_are_at_work_at_the_same_time(self, cluster, tmp_path):
        both, waited = threading.Barrier(2), set()

        def answer(body, _):
            if body["model"] not in waited:  # the first call of a member ends when the other's has come
                waited.add(body["model"])
                both.wait(timeout=60)
            return said(body)

        members = "[{name: small, resources: {num_cpus: 0.5}}, {name: large, resources: {num_cpus: 1}}]"
        with ChatServer(answer) as server:
            assert over(server, tmp_path, members=members) == 0
        assert not both.broken

    def test_who_fits_no_node_is_refused_before_anything_is_asked(self, cluster, tmp_path, capsys):
        members = "[{name: small}, {name: large, resources: {num_cpus: 2}}, {name: huge, resources: {num_gpus: 4}}]"
        with ChatServer(lambda body, _: said(body)) as server:
            assert over(server, tmp_path, members=members) == 2
            assert not server.calls
        assert capsys.readouterr().err.splitlines() == [
            f"erp collect: pool.members.{name}.resources: a worker needs {needs} on one node, and nodes have {have}; "
            "add larger ones, or ask less"
            for name, needs, have in (("large", "CPU 2", "CPU 1"), ("huge", "CPU 1, GPU 4", "CPU 1, GPU 0"))
        ]

    def test_what_a_worker_raises_ends_the_run_in_a_line(self, cluster, tmp_path, capsys):
        with ChatServer(lambda *_: error(401, "who are you?")) as server:
            assert over(server, tmp_path) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "who are you?" in line

    def test_workers_find_room_on_a_node_that_joins(self, cluster, tmp_path):
        """Three workers' calls have to be under way at once, and there is room for two until the first has come."""
        three, nodes = threading.Barrier(3), list[subprocess.Popen[bytes]]()
        join = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--num-cpus=1"]

        def answer(body, number):
            if number == 0:
                nodes.append(subprocess.Popen([*join, "--block"], stdout=subprocess.DEVNULL))
            if number < 3:
                three.wait(timeout=120)
            return said(body)

        try:
            with ChatServer(answer) as server:
                assert over(server, tmp_path, "engine.concurrency=1", "block=1", members="[{name: small}]") == 0
        finally:
            for node in nodes:
                node.terminate()
                node.wait()
        assert not three.broken


def test_a_worker_lies_on_one_node():
    two = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0}]
    assert room_on(two, {"num_cpus": 1}) == 4
    assert room_on(two, {"num_cpus": 1, "num_gpus": 1}) == 1
    assert room_on(two, {"num_cpus": 4}) == 0  # the cluster has four
    assert room_on(two, {"num_cpus": 0.5, "num_gpus": 0.25}) == 4
    assert room_on([], {"num_cpus": 1}) == 0
