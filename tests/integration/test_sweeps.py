"""Sweeps as users start them: named, from an experiment file, on several cores, killed, with a job that fails."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from erp.compose import conf_folder
from erp.table.groups import group_prompts

PROBE = """# @package _global_
# A sweep in a file
hydra:
  sweeper:
    params:
      router: ridge,knn
      split.seed: 0,1
sweep: probe
objective: area
"""
POOLS = "[synthetic-1b,synthetic-3b,synthetic-8b],[synthetic-1b,synthetic-3b]"
BROKEN = """
from erp.routers.ridge import Ridge

class Broken(Ridge):
    def fit(self, train, validation):
        raise RuntimeError("no ridge today")
"""


def record(name: str = "*") -> dict:
    (file,) = Path("runs/sweeps").glob(f"{name}.json")
    return json.loads(file.read_text())


@pytest.fixture
def probe(tmp_path) -> list[str]:
    """An experiment file of the user's own, and the flag that finds it."""
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "probe.yaml").write_text(PROBE)
    return ["--config-dir", str(tmp_path / "mine"), "experiment=probe"]


def test_an_experiment_file_holds_a_sweep_and_its_name(erp, quick, probe):
    answer = erp("train", "-m", *probe, *quick)
    assert answer.code == 0, answer.err
    assert "sweep probe: 4 ok, 0 failed" in answer.out
    content = record("probe")
    configs = [yaml.safe_load((Path(run) / "config.yaml").read_text()) for run in content["runs"]]
    assert sorted((c["router"]["name"], c["split"]["seed"]) for c in configs) == [
        ("knn", 0), ("knn", 1), ("ridge", 0), ("ridge", 1),
    ]  # fmt: skip
    assert {c["objective"] for c in configs} == {"area"}  # the file is read last
    assert {c["sweep"] for c in configs} == {"probe"}


def test_what_the_command_sweeps_over_goes_before_the_file(erp, quick, probe):
    answer = erp("train", "-m", *probe, *quick, "router=category_mean", "sweep=mine")
    assert answer.code == 0, answer.err
    assert "sweep mine: 2 ok" in answer.out
    configs = [yaml.safe_load((Path(run) / "config.yaml").read_text()) for run in record("mine")["runs"]]
    assert sorted((c["router"]["name"], c["split"]["seed"]) for c in configs) == [
        ("category_mean", 0), ("category_mean", 1),
    ]  # fmt: skip


def test_faults_of_a_sweep_in_a_file_are_named_before_a_job_starts(erp, quick, probe, tmp_path):
    file = tmp_path / "mine/experiment/probe.yaml"
    file.write_text(PROBE.replace("ridge,knn", "ridge,knnn"))
    answer = erp("train", "-m", *probe, *quick)
    assert answer.code == 2
    assert "router = knnn: there is no such option" in answer.err
    assert not Path("runs").exists()


def named_by(answer) -> str:
    return answer.last.removeprefix("compare them: erp compare ")


def test_sweeps_over_other_data_have_records_of_their_own(erp, quick, table, tmp_path):
    made = ["data=synthetic", "data.prompts=60", *(q for q in quick if not q.startswith("data")), "figures=false"]
    records = [named_by(erp("train", "-m", *made, f"data.seed={seed}", "seed=0,1")) for seed in (0, 1)]
    rewards = pd.read_parquet(table)
    rewards = rewards.assign(half=[f"half {text[-1] > 'm'}" for text in rewards["prompt"]])
    rewards.to_parquet(table)
    here = [*quick, "figures=false", "seed=0,1"]
    records += [
        named_by(erp("train", "-m", *here)),
        named_by(erp("train", "-m", *here, "data.columns.category=half")),
    ]
    rewards.assign(reward=rewards["reward"] * 2).to_parquet(table)
    records.append(named_by(erp("train", "-m", *here)))
    assert len(set(records)) == 5
    assert all(len(json.loads(Path(file).read_text())["runs"]) == 2 for file in records)
    # The same command finds its own again, and equal data elsewhere are the same data.
    rewards.assign(reward=rewards["reward"] * 2).to_parquet(tmp_path / "moved.parquet")
    moved = [f"data.path={tmp_path / 'moved.parquet'}" if h.startswith("data.path") else h for h in here]
    assert named_by(erp("train", "-m", *here)) == named_by(erp("train", "-m", *moved)) == records[-1]


def test_runs_whose_settings_are_written_in_two_ways_are_one_contender(erp, quick):
    runs = [
        erp("train", *quick, "figures=false", *more).last
        for more in (["policy.lambda=0", "split.seed=0"], ["policy.lambda=0.0", "split.seed=1"])
    ]
    answer = erp("compare", *runs, "output=json", "table=contenders", "bootstrap.draws=200")
    assert len(json.loads(answer.out)) == 1, answer.err


def test_a_sweep_s_name_is_that_of_a_file(erp, quick):
    answer = erp("train", "-m", *quick, "seed=0,1", "sweep=a/b")
    assert answer.code == 2
    assert answer.faults == ["erp train: sweep = a/b: names a file; give letters, digits, _ . and - only"]


def test_keys_of_an_option_that_the_file_sweeps_over_can_be_given(erp, quick, probe, tmp_path):
    (tmp_path / "mine/experiment/probe.yaml").write_text(PROBE.replace("ridge,knn", "knn"))
    answer = erp("train", "-m", *probe, *quick, "router.k=3")
    assert answer.code == 0, answer.err
    configs = [yaml.safe_load((Path(run) / "config.yaml").read_text()) for run in record("probe")["runs"]]
    assert [c["router"]["k"] for c in configs] == [3, 3]


def test_a_sweep_in_a_file_wants_m_and_texts(erp, quick, probe, tmp_path):
    answer = erp("train", *probe, *quick)
    assert answer.code == 2
    assert answer.faults == [
        "erp train: experiment: the file holds a sweep; give -m for all of its runs, or the keys of one run yourself"
    ]
    (tmp_path / "mine/experiment/probe.yaml").write_text(PROBE.replace("0,1", "[0, 1]"))
    answer = erp("train", "-m", *probe, *quick)
    assert answer.code == 2
    assert "hydra.sweeper.params.split.seed: [0, 1]: is a list; write it as one text" in answer.err
    assert not Path("runs").exists()


def test_the_record_of_an_earlier_sweep_stands_until_a_job_begins(erp, quick):
    assert erp("train", "-m", *quick, "split.seed=0,1", "sweep=first").code == 0
    first = record("first")
    answer = erp("train", "-m", *quick, "split.seed=0,1", "sweep=first", "hydra/launcher=jobli")
    assert answer.code == 2
    assert "jobli" in answer.err
    assert record("first") == first

    answer = erp("train", "-m", f"config={first['runs'][0]}/config.yaml", "split.seed=5,6")
    assert answer.code == 0, answer.err
    assert record("first") == first
    (other,) = set(Path("runs/sweeps").glob("*.json")) - {Path("runs/sweeps/first.json")}
    assert len(json.loads(other.read_text())["runs"]) == 2


def test_a_sweep_has_one_name(erp, quick):
    answer = erp("train", "-m", *quick, "sweep=a,b")
    assert answer.code == 2
    assert answer.faults == ["erp train: sweep = a, b: one sweep has one name; give one"]


def test_of_many_jobs_every_value_is_checked_and_the_command_names_the_sweep(erp, quick, monkeypatch):
    monkeypatch.setattr("erp.jobs.MOST_JOBS_CHECKED", 2)
    monkeypatch.setattr("erp.programs.sweep.MOST_JOBS_CHECKED", 2)
    answer = erp("train", "-m", *quick, "router=ridge,knnn", "split.seed=0,1,2")
    assert answer.code == 2
    assert "router = knnn" in answer.err
    names = set()
    for router in ("ridge,knn", "ridge,category_mean"):
        answer = erp("train", "-m", *quick, f"router={router}", "split.seed=0,1", "figures=false")
        assert answer.code == 0, answer.err
        names.add(answer.last.split("/")[-1])
    assert len(names) == 2


@pytest.mark.parametrize("file", sorted((conf_folder() / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_says_what_it_is_and_composes(file, monkeypatch):
    """Every value of every key; their combinations are checked where the experiment is run."""
    from erp.compose import compose
    from erp.jobs import check_sweep

    monkeypatch.setattr("erp.jobs.MOST_JOBS_CHECKED", 8)
    assert file.read_text().startswith("# @package _global_\n# ")
    content = yaml.safe_load(file.read_text())
    brought = ["data.path=a.parquet"] if {"override /data": "table"} in content.get("defaults", []) else []
    compose("train", [f"experiment={file.stem}", *brought])  # one run of it
    jobs = check_sweep("train", [f"experiment={file.stem}", *brought])
    if "hydra" in content:
        assert len(jobs) > 1
        assert {job["sweep"] for job in jobs} == {file.stem}


def test_a_bad_value_of_the_table_is_named_before_a_job_starts(erp):
    answer = erp("train", "-m", "data=synthetic", "data.prompts=60,abc", "backbone=hashing", "tracking=off")
    assert answer.code == 2
    (line,) = answer.faults
    assert line.startswith("erp train: data.prompts = abc: ")
    assert not Path("runs").exists()


COUNTED = """
from erp.table.read import read_table
from erp.table.source import TableSource

tables, prints = [], []


class Counted(TableSource):
    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, reward_model=None, prompt_from=None):
        tables.append(read_table(self.path, reward_model=reward_model))
        prints.append(tables[-1].fingerprint())
        return tables[-1]
"""


@pytest.fixture
def counted(tmp_path, table, monkeypatch):
    """A source of tables that counts how often it reads, and the arguments that choose it."""
    (tmp_path / "counted.py").write_text(COUNTED)
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/counted.yaml").write_text("# Counted\nname: counted\n_target_: counted.Counted\npath: ???\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "counted", raising=False)
    small = ["backbone=hashing", "backbone.dimensions=64", "tracking=off", "bootstrap.draws=200"]
    return ["--config-dir", str(tmp_path / "mine"), *small, "data=counted", f"data.path={table}"]


def numbers(folder: Path) -> dict:
    results = json.loads((folder / "results.json").read_text())
    for name in ("seconds", "fit_seconds", "sweep"):
        results["run"].pop(name, None)
    return results


def test_jobs_read_their_table_once_and_leave_it_as_it_is(erp, counted, monkeypatch):
    grouped = []
    monkeypatch.setattr(
        "erp.table.splits.group_prompts", lambda *given, **more: grouped.append(given) or group_prompts(*given, **more)
    )
    pools = "pool.members=null,[synthetic-1b,synthetic-3b]"
    answer = erp("train", "-m", *counted, "router=ridge,knn", pools, "split.seed=0,1")
    assert answer.code == 0, answer.err
    assert "8 ok, 0 failed" in answer.out
    source = importlib.import_module("counted")
    assert len(source.tables) == 1
    assert len(grouped) == 2  # once for each pool
    assert [table.fingerprint() for table in source.tables] == source.prints
    made = {Path(run).name: Path(run) for run in record()["runs"]}
    assert len(made) == 8

    # A job gives the numbers that its command gives alone.
    for one in (["router=knn", "split.seed=1"], ["router=ridge", pools.replace("null,", "")]):
        alone = Path(erp("train", *counted, *one, "out=alone").last)
        assert numbers(alone) == numbers(made[alone.name])
    assert len(source.tables) == 3  # nothing is kept when a sweep is over


def test_only_the_last_tables_are_kept(erp, counted, table):
    for number in range(3):
        pd.read_parquet(table).assign(category=f"c{number}").to_parquet(f"t{number}.parquet")
    answer = erp("train", "-m", *counted[:-1], "split.seed=0,1", "data.path=t0.parquet,t1.parquet,t2.parquet")
    assert answer.code == 0, answer.err
    assert len(importlib.import_module("counted").tables) == 6


class Shell:
    """`erp` in processes of its own, in one folder, as two cores and a user's terminal would have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "broken.py").write_text(BROKEN)
        (folder / "mine/router").mkdir(parents=True)
        (folder / "mine/router/broken.yaml").write_text(
            "# Fails\nname: broken\n_target_: broken.Broken\nalphas: [1.0]\n"
        )
        alone = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # of an earlier test
        self.environment = alone | {"PYTHONPATH": str(folder), "ERP_CACHE": str(folder / "cache")}

    def start(self, *arguments: str) -> subprocess.Popen:
        quiet = ["trainer.progress=false"] if arguments[0] == "train" else []
        command = [sys.executable, "-m", "erp", *arguments, *quiet]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=900)
        return process.returncode, out, err


@pytest.fixture
def shell(tmp_path, monkeypatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@pytest.mark.slow
def test_two_workers_a_job_that_fails_and_a_sweep_killed_half_way(shell, quick):
    """24 jobs: the killed sweep goes on with what is left; the failing job is named with its folder, the others end."""
    sweep = [
        "train", "-m", *(q for q in quick if q != "tracking=off"), "--config-dir", "mine", "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2", "router=ridge,knn,broken", f"pool.members={POOLS}", "split.seed=0,1,2,3",
    ]  # fmt: skip
    first = shell.start(*sweep)
    while first.poll() is None and len(list(Path("runs").glob("*/status.json"))) < 6:
        time.sleep(0.1)
    assert first.poll() is None, first.communicate()[1]
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    finished = [
        f
        for f in Path("runs").glob("*/results.json")
        if json.loads((f.parent / "status.json").read_text()) == {"status": "ok"}
    ]
    stamps = {file: file.stat().st_mtime_ns for file in finished}
    assert 0 < len(stamps) < 16

    code, out, err = shell.run(*sweep)
    assert code == 2
    assert "16 ok, 8 failed" in out
    assert out.count("finished already") == len(stamps)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    content = record()
    assert len(content["jobs"]) == 24
    failed = [job for job in content["jobs"].values() if job["status"] == "failed"]
    assert {"router=broken" in job["overrides"] for job in failed} == {True}
    lines = [line for line in err.splitlines() if "no ridge today" in line and line.startswith("erp train:")]
    assert len(lines) == 8
    assert all(job["run"] in err and Path(job["run"], "status.json").exists() for job in failed)

    ok = [Path(job["run"]) for job in content["jobs"].values() if job["status"] == "ok"]
    assert len(set(ok)) == 16
    assert all(list((run / "wandb").glob("offline-run-*/*.wandb")) for run in ok)
    code, out, err = shell.run("compare", str(next(Path("runs/sweeps").glob("*.json"))), "output=csv", "table=runs")
    assert code == 0, err
    assert len(out.strip().splitlines()) == 1 + 16


@pytest.mark.slow
def test_a_worker_the_system_kills_is_one_line_and_the_rest_can_be_had(shell, quick):
    (shell.folder / "broken.py").write_text(
        BROKEN.replace('raise RuntimeError("no ridge today")', "__import__('os').kill(__import__('os').getpid(), 9)")
    )
    sweep = [
        "train",
        "-m",
        *quick,
        "--config-dir",
        "mine",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "router=ridge,broken",
    ]
    code, _, err = shell.run(*sweep)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("erp train:")]
    assert "a worker process was killed by the system" in line
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local"])
def test_submitit_runs_jobs_in_processes_of_their_own(shell, quick, launcher):
    code, out, err = shell.run("train", "-m", *quick, f"hydra/launcher={launcher}", "router=ridge,knn", "sweep=cluster")
    assert code == 0, err
    assert "sweep cluster: 2 ok, 0 failed" in out
    assert {job["status"] for job in record("cluster")["jobs"].values()} == {"ok"}
    logs = list(Path("runs/sweeps/.hydra/cluster/.submitit").glob("*/*_log.out"))
    assert len(logs) == 2
    assert all("report:" in log.read_text() for log in logs)


@pytest.mark.slow
def test_optuna_searches_for_what_is_best_on_validation(shell, quick):
    """Four draws of k: the best of them by optuna is the run whose objective is highest."""
    code, _, err = shell.run(
        "train", "-m", *quick, "router=knn", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=1", "router.k=range(2,40)", "sweep=search",
    )  # fmt: skip
    assert code == 0, err
    jobs = record("search")["jobs"].values()
    assert len(jobs) == 4
    values = {}
    for job in jobs:
        results = json.loads((Path(job["run"]) / "results.json").read_text())
        values[yaml.safe_load((Path(job["run"]) / "config.yaml").read_text())["router"]["k"]] = results["objective"][
            "value"
        ]
    best = yaml.safe_load(Path("runs/sweeps/.hydra/search/optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(max(values.values()))
    assert values[best["best_params"]["router.k"]] == pytest.approx(best["best_value"])
