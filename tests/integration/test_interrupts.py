"""Ctrl-C at any moment of any program: exit code 130, one line, no traceback; and workers that outlive nobody."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.collect.commands import command

OWN = """
import time
from pathlib import Path
from erp.backbones.hashing import HashingBackbone
from erp.routers.ridge import Ridge

def stay():
    Path("reached").write_text("")
    time.sleep(300)

class Fitting(Ridge):
    def fit(self, train, validation):
        stay()

class Embedding(HashingBackbone):
    def embed(self, prompts):
        stay()
"""
OPTIONS = {
    "router/fitting": {"name": "fitting", "_target_": "own.Fitting", "alphas": [1.0]},
    "backbone/embedding": {"name": "embedding", "_target_": "own.Embedding"},
}
SYNTHETIC = ["data=synthetic", "data.prompts=50000"]
JOBLIB = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2"]


class Terminal:
    """Programs as a terminal starts them: each with its workers in a group of processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        (folder / "own.py").write_text(OWN)
        for name, node in OPTIONS.items():
            (folder / "conf" / name).parent.mkdir(parents=True)
            (folder / "conf" / f"{name}.yaml").write_text(f"# Stays\n{yaml.safe_dump(node)}")
        paths = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | {"PYTHONPATH": ":".join(paths), "ERP_CACHE": str(folder / "cache")}

    def start(self, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "erp", *arguments], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with process:
                process.wait(30)

    def started(self, process: subprocess.Popen, *signs: str, seconds: float = 120) -> None:
        """Wait until one of these files is there."""
        end = time.monotonic() + seconds
        while not any(list(self.folder.glob(sign)) for sign in signs):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, f"no {signs} after {seconds} s"
            time.sleep(0.05)


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def interrupted(process: subprocess.Popen, all_of_them: bool = True) -> str:
    """Send SIGINT, to the whole group as a terminal does or to the program alone; what went to stdout."""
    assert process.poll() is None, process.communicate()[1]
    (os.killpg if all_of_them else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    # Python's own tracker of semaphores may have a word on what a stopped worker did not put away.
    said = [line for line in err.splitlines() if "resource_tracker" not in line and "warnings.warn" not in line]
    assert [line for line in said if "interrupted; the same command goes on" in line] == said
    return out


def living(group: int) -> int:
    """How many processes of a group still run."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return sum(row[0] == str(group) and not row[1].startswith("Z") for row in rows)


def quick_on(table) -> list[str]:
    return [
        "train", "--config-dir", "conf", "data=table", f"data.path={table}", "backbone=hashing", "tracking=off",
        "trainer.progress=false",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("program", ["train", "describe"])
def test_while_it_imports_and_reads(terminal, table, program, seconds):
    arguments = {"train": [*quick_on(table), "router=fitting"], "describe": ["describe", *SYNTHETIC]}[program]
    process = terminal.start(*arguments)
    time.sleep(seconds)
    interrupted(process)


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(
    ("options", "sign"),
    [
        (["backbone=embedding"], "reached"),
        (["router=fitting"], "reached"),
        (["bootstrap.draws=1000000"], "runs/*/checkpoint.ckpt"),
        (["-m", "router=fitting", "seed=0,1"], "reached"),
        ([*JOBLIB, "router=fitting"], "reached"),
    ],
    ids=["embed", "fit", "bootstrap", "sweep", "joblib sweep"],
)
def test_while_it_trains(terminal, table, options, sign, group):
    process = terminal.start(*quick_on(table), *options)
    terminal.started(process, sign)
    interrupted(process, group)
    end = time.monotonic() + 30
    while living(process.pid) and time.monotonic() < end:
        time.sleep(0.2)
    assert not living(process.pid)


@pytest.mark.slow
def test_while_it_collects(terminal, tmp_path):
    process = terminal.start(*command(tmp_path, "engine.seconds=30"))
    terminal.started(process, "diary")
    interrupted(process)


@pytest.mark.slow
def test_while_it_compares_and_while_it_waits_for_a_prompt(terminal, table):
    runs = []
    for router in ("ridge", "knn"):
        process = terminal.start(*quick_on(table), f"router={router}", "figures=false", "bootstrap.draws=200")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        runs.append(out.splitlines()[-1])
    process = terminal.start("compare", *runs, "bootstrap.draws=1000000")
    time.sleep(3)
    interrupted(process)
    process = terminal.start("route", f"run={runs[0]}")
    process.stdin.write("one\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("1\t")
    interrupted(process)


@pytest.mark.slow
def test_a_sweep_killed_alone_leaves_no_worker_behind(terminal, table):
    process = terminal.start(*quick_on(table), *JOBLIB, "router=fitting")
    terminal.started(process, "reached")
    assert living(process.pid) > 2
    process.kill()
    process.wait(30)
    end = time.monotonic() + 30
    while living(process.pid) and time.monotonic() < end:
        time.sleep(0.2)
    assert not living(process.pid)
